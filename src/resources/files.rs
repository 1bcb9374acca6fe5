//! Trees of files: with owners, modes, times, links, extended attributes and holes, as one tar archive that GNU tar restores too.
//!
//! Invariants: what may not be read fails the backup by name. A file that changes while it is read is read again; one that keeps changing is
//! spoken of. Names of files stand in the archive and nowhere else. A restore writes nothing before the difference was shown, never
//! through a link out of its directory, and each file in one step. Memory: a few frames, and a little for each file that has
//! several names.

mod archive;
mod attributes;
mod error;
mod resource;
mod restore;
mod tar;
mod verify;
mod walk;
mod watch;

pub use error::{Error, Result};
pub use resource::Trees;
pub use restore::RestoreRequest;
