//! Logical dumps of one database by `pg_dump`, with the roles and tablespaces of its server.
//!
//! Invariants: a dump is listed only if `pg_dump` ended well and `pg_restore` has read it to its end. In the custom format it goes from the
//! pipe through compression and encryption into the store, and never to a disk. Rows are counted in the very snapshot that is
//! dumped. A restore fills a new database, compares the rows, and only then gives it its name: what had the name before is there
//! until that moment. Names of databases, tables and roles stand in the content and nowhere else; passwords on no command line.

mod archive;
mod create;
mod directory;
mod error;
mod globals;
mod inventory;
mod load;
mod resource;
mod restore;
mod snapshot;
mod source;
mod trial;

pub use error::{Error, Result};
pub use resource::Database;
pub use restore::RestoreRequest;
