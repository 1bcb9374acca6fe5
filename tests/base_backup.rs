//! Base backups of real clusters of every supported version into real stores.

mod base_backup {
    mod command;
    mod complete;
    mod refused;
    mod support;
}
