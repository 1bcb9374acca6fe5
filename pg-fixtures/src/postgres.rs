//! PostgreSQL for tests: installations, clusters, their processes, and plain ways to talk to them.
//!
//! ```no_run
//! use pg_fixtures::postgres::{Cluster, Installation};
//!
//! for installation in Installation::all() {
//!     let cluster = Cluster::builder(&installation).wal_segment_size(1).setting("wal_level", "logical").start();
//!     cluster.pgbench(&["-i", "-s", "1"]);
//!     assert_eq!(cluster.sql("SELECT count(*) FROM pgbench_branches"), "1");
//! }
//! ```

mod builder;
mod client;
mod cluster;
mod installation;
mod load;
mod postmaster;
mod standby;

pub use builder::Builder;
pub use cluster::Cluster;
pub use installation::Installation;
pub use load::Load;
pub use postmaster::StopMode;
