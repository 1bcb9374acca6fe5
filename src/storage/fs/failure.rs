//! What the operating system's errors mean for a store.

use std::io;

use nix::errno::Errno;

use super::Done;
use crate::storage::Failure;

/// The failure that an error stands for. `NotFound` means the path: whether the root is there is looked up by the caller.
pub fn of(error: &io::Error) -> Failure {
    let text = error.to_string();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR) => Failure::NotFound,
        Some(Errno::EACCES | Errno::EPERM) => Failure::Denied(text),
        Some(Errno::ENOSPC | Errno::EDQUOT) => Failure::Full(text),
        Some(Errno::EROFS) => Failure::ReadOnly(text),
        Some(Errno::ENAMETOOLONG | Errno::EINVAL | Errno::EFBIG | Errno::ELOOP | Errno::EXDEV | Errno::EOPNOTSUPP) => {
            Failure::Other(text)
        }
        // EIO, ESTALE, ETIMEDOUT, EMFILE, ...: of the disk, the network or the moment.
        Some(_) => Failure::Unavailable(text),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::Unavailable("the file became shorter while read".to_owned())
        }
        None => Failure::Other(text),
    }
}

/// `Ok` if the error says that there is no such file.
pub fn absent_or(error: &io::Error) -> Done<()> {
    match of(error) {
        Failure::NotFound => Ok(()),
        failure => Err(failure),
    }
}
