//! The data of a Redis or Valkey server: the RDB file that a replica would get, over the replication protocol.
//!
//! Invariants: what is stored is the file, byte for byte, so that it can be used without Holdfast. A backup is listed only if its structure and checksum
//! are right from the first byte to the last. The server is left as it was: the connection ends with the file, and no replica stays behind. Memory
//! does not grow with the data. Passwords are in no error.

mod backup;
mod connection;
mod error;
mod feed;
mod message;
pub mod rdb;
mod resource;
mod restore;
mod scan;
mod scratch;
mod server;
mod tls;
mod transfer;
mod verify;

pub use resource::Server;
pub use restore::RestoreRequest;
