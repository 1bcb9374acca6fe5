//! The PostgreSQL client against real servers of every supported version.

mod pgwire {
    mod base_backup;
    mod commands;
    mod streaming;
    mod support;
}
