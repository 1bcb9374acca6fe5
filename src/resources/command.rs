//! The output of a program, such as `kubectl get secrets -o yaml`: kept when the program succeeds, and never stored in the clear.
//!
//! Invariants: the output goes from the pipe through compression and encryption into the store, and never to a disk as it is. It is
//! listed only if the program exits with 0 within its time limit; at the deadline all of its process group is killed. What stands in the
//! catalog tells nothing about the output: that it has changed shows by a salted digest that is slow to guess against.

mod error;
mod program;
mod resource;
mod restore;

pub use error::{Error, Result};
pub use resource::Output;
pub use restore::RestoreRequest;
