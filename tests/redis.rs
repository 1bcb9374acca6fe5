//! Redis and Valkey servers, backed up and restored by the program, with the servers themselves as judges.

mod redis {
    mod data;
    mod format;
    mod into;
    mod load;
    mod memory;
    mod restore;
    mod scan;
    mod site;
    mod tls;
    mod transfer;
    mod whole;
}
