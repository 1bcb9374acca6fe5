//! Logical dumps, made and restored by the program against real servers, with psql and PostgreSQL's own programs as judges.

mod dump {
    mod by_hand;
    mod place;
    mod refused;
    mod site;
    mod whole;
}
