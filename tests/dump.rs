//! Logical dumps, made and restored by the program against real servers, with psql and PostgreSQL's own programs as judges.

mod dump {
    mod by_hand;
    mod killed;
    mod place;
    mod refused;
    mod site;
    mod standby;
    mod whole;
}
