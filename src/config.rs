//! The configuration: schema, loading, validation.
//!
//! Invariants: only this folder reads the environment. A configuration is either valid as a whole or an error that names the file, the
//! line and what to write instead. A value that holds a secret never shows it.

mod dump;
mod encryption;
mod endpoint;
mod environment;
mod error;
mod keep;
mod load;
mod pattern;
mod plain;
mod redis;
mod resources;
mod schedule;
mod schema;
mod secret;
mod upkeep;

pub use dump::{Dump, TablePattern};
pub use encryption::{AskPassphrase, EncryptionSection};
pub use environment::{Environment, environment, program_directories};
pub use error::{Error, Result};
pub use keep::{Keep, Period};
pub use load::{default_path, fail_points, load, parse};
pub use pattern::Pattern;
pub use plain::{Duration, StoreUrl};
pub use redis::{Redis, RedisPlace, RedisUrl};
pub use resources::{Bucket, BucketSource, Command, Files, Tags};
pub use schedule::{LOOK_EVERY, Objectives, OnChange, Schedule, Zone, system_time_zone};
pub use schema::{Agent, Config, Postgres, RepositorySection, ServerSideEncryption, UploadChecksum};
pub use secret::{Secret, SecretVariables};
pub use upkeep::Upkeep;
