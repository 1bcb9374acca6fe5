//! The PostgreSQL client against real servers of every supported version.

mod pgwire {
    mod base_backup;
    mod certificates;
    mod commands;
    mod encryption;
    mod hosts;
    mod login;
    mod streaming;
    mod support;
}
