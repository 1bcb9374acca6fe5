//! Base backups of real clusters of every supported version into real stores.

mod base_backup {
    mod command;
    mod complete;
    #[path = "../moments/key.rs"]
    mod key;
    mod refused;
    #[path = "../stores/seaweed.rs"]
    mod seaweed;
    mod stores;
    mod support;
    mod verify;
}
