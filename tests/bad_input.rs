//! What a person gets who has set something up wrongly: a word that names what to change, and nothing written.
//!
//! Through the whole program. What one layer alone must do with bad input is tested beside it: log-ins in `tests/pgwire`, stores in
//! `tests/stores`, targets and damaged packs in `tests/restore`, WAL in `tests/wal_commands` and
//! `tests/archive`, full disks in `tests/moments`.

#[path = "bad_input/commands.rs"]
mod commands;
#[path = "bad_input/servers.rs"]
mod servers;
#[path = "bad_input/support.rs"]
mod support;
#[path = "bad_input/unreachable.rs"]
mod unreachable;
