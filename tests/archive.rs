//! WAL streaming against real servers: what was acknowledged is stored, whatever happens.
//!
//! The oracle is the server's own `pg_wal`, which keeps everything here: what is in the store must be the same bytes.

#[path = "archive/backups.rs"]
mod backups;
#[path = "crash/clients.rs"]
mod clients;
#[path = "archive/clones.rs"]
mod clones;
#[path = "archive/demoted.rs"]
mod demoted;
#[path = "archive/failover.rs"]
mod failover;
#[path = "archive/faults.rs"]
mod faults;
#[path = "archive/gaps.rs"]
mod gaps;
#[path = "moments/key.rs"]
mod key;
#[path = "archive/kills.rs"]
mod kills;
#[path = "archive/memory.rs"]
mod memory;
#[path = "archive/promotion.rs"]
mod promotion;
#[path = "archive/revert.rs"]
mod revert;
#[path = "archive/schedule.rs"]
mod schedule;
#[path = "archive/site.rs"]
mod site;
#[path = "archive/standby.rs"]
mod standby;
#[path = "archive/streaming.rs"]
mod streaming;
#[path = "archive/synchronous.rs"]
mod synchronous;
#[path = "archive/withdrawal.rs"]
mod withdrawal;
