//! Promises 1, 4 and 8 of the design, whole: whatever dies and whenever, a marked moment comes back, row by row.
//!
//! pgbench runs all the time, the agent is killed at random moments, a base backup is taken meanwhile, moments are marked, and the
//! original is destroyed. The oracle is what every table held at the moment; PostgreSQL's own `pg_verifybackup` and `pg_amcheck` check
//! the rest. `HOLDFAST_TEST_SEED` repeats a run, `HOLDFAST_TEST_ROUNDS` makes it a long one.

#[path = "moments/bucket.rs"]
mod bucket;
#[path = "moments/container.rs"]
mod container;
#[path = "moments/directory.rs"]
mod directory;
#[path = "moments/disaster.rs"]
mod disaster;
#[path = "moments/disks.rs"]
mod disks;
#[path = "moments/key.rs"]
mod key;
#[path = "moments/kills.rs"]
mod kills;
#[path = "stores/seaweed.rs"]
mod seaweed;
#[path = "moments/site.rs"]
mod site;
