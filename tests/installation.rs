//! `docs/examples/hopwhistle.toml` run whole, against real servers: everything is backed up of itself, lost, and brought back into empty
//! servers, each resource compared with its source. Only addresses and paths are other ones.

mod installation {
    mod empty;
    mod living;
    mod recordings;
    mod whole;
}
