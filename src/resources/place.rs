//! Where a restore must not write, whatever it restores: among what it is restored from.

use std::io;
use std::path::{Path, PathBuf};

/// What to do where this user may not read or write something.
pub const DENIED_HINT: &str = "run it as a user that may do that, or choose another place";

/// A place that lies in the repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} lies in the repository {repository}", place = place.display(), repository = repository.display())]
pub struct InRepository {
    place: PathBuf,
    repository: PathBuf,
}

impl InRepository {
    /// What to do next.
    pub const HINT: &str = "choose a place outside it: nothing but Holdfast's own objects belongs there";
}

/// Whether something may be restored to `place`, by where links lead; what cannot be looked at does not lie in the repository.
///
/// # Errors
/// When it is the directory of the repository, or lies in it.
pub fn check_outside(place: &Path, repository: &Path) -> Result<(), InRepository> {
    let (Ok(found), Ok(root)) = (resolved(place), resolved(repository)) else { return Ok(()) };
    if found.starts_with(root) {
        return Err(InRepository { place: place.to_owned(), repository: repository.to_owned() });
    }
    Ok(())
}

/// Something that is there and that no file can be put in the place of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is there, and is no plain file: it is not replaced", place = place.display())]
pub struct NoPlainFile {
    place: PathBuf,
}

impl NoPlainFile {
    /// What to do next.
    pub const HINT: &str = "choose the name of a file; where the content can go to standard output, --to - does that";
}

/// Whether a file may be put where `place` is: where nothing is, or a plain file. A link is none: it is what would be replaced.
///
/// # Errors
/// When it is anything else.
pub fn check_replaceable(place: &Path) -> Result<(), NoPlainFile> {
    match place.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(NoPlainFile { place: place.to_owned() }),
        _ => Ok(()),
    }
}

/// Where a path leads, of which the last parts need not be there yet.
///
/// # Errors
/// Those of the file system.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    for ancestor in path.ancestors() {
        if let Ok(found) = ancestor.canonicalize() {
            return Ok(found.join(path.strip_prefix(ancestor).unwrap_or(Path::new(""))));
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_repository_is_found_behind_links_and_before_it_is_there() {
        let scratch = tempfile::tempdir().unwrap();
        let repository = scratch.path().join("repository");
        std::fs::create_dir(&repository).unwrap();
        std::os::unix::fs::symlink(&repository, scratch.path().join("link")).unwrap();
        for inside in ["repository", "repository/new", "link", "link/a/b"] {
            assert!(check_outside(&scratch.path().join(inside), &repository).is_err(), "{inside}");
        }
        for replaceable in ["new", "file"] {
            assert_eq!(check_replaceable(&scratch.path().join(replaceable)), Ok(()));
            std::fs::write(scratch.path().join("file"), "").unwrap();
        }
        for kept in ["link", "repository"] {
            assert!(check_replaceable(&scratch.path().join(kept)).is_err(), "{kept}");
        }
        assert!(check_replaceable(Path::new("/dev/null")).is_err());
        for outside in ["", "other", "repository-2", "repositor"] {
            assert_eq!(check_outside(&scratch.path().join(outside), &repository), Ok(()), "{outside}");
        }
    }
}
