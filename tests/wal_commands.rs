//! `archive_command` and `restore_command` with real PostgreSQL servers: what goes in comes out, and a hole never looks like the end.

mod wal_commands {
    mod agent;
    mod archive;
    mod exit_codes;
    mod failures;
    mod recovery;
    mod site;
}
