//! The place that a cluster is restored to: what is there, and what stands in the way. Nothing is changed here.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use super::plan::size_text;
use crate::repository::{BackupEntry, Tablespace};
use crate::resources::place::resolved;
use crate::sys::local_postgres::Account;

/// The file that marks a directory as not finished.
pub const UNFINISHED: &str = "holdfast_restore_unfinished";

/// Where everything goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The data directory; absolute.
    pub directory: PathBuf,
    /// The directories of tablespaces, by object id. Those within the data directory are not among them.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Who will own everything.
    #[serde(skip)]
    pub owner: Account,
}

/// What stands in the way on this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Something is there.
    #[error("{path} is not empty; a restore only goes into a new or empty directory", path = .0.display())]
    NotEmpty(PathBuf),
    /// A restore into it did not finish.
    #[error("{path} holds a restore that did not finish", path = .0.display())]
    Unfinished(PathBuf),
    /// Not a directory.
    #[error("{path} is not a directory", path = .0.display())]
    NotADirectory(PathBuf),
    /// It has no place to be made in.
    #[error("{path} cannot be made: {parent} is no directory", path = path.display(), parent = parent.display())]
    NoParent {
        /// What was to be made.
        path: PathBuf,
        /// Where.
        parent: PathBuf,
    },
    /// It cannot be looked at.
    #[error("{path}: {detail}", path = path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// Too little space.
    #[error("{path} has {free} free, and the restored files take {needed}", path = path.display(), free = size_text(*.free), needed = size_text(*.needed))]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// The free space in bytes.
        free: u64,
        /// What is needed in bytes.
        needed: u64,
    },
    /// A tablespace that nobody said where to put.
    #[error("tablespace {oid} was in {location}; say where it goes", location = location)]
    Unmapped {
        /// Its object id.
        oid: u32,
        /// Where it was.
        location: String,
    },
    /// A mapping for what is not there.
    #[error("no tablespace of this backup was in {0}")]
    UnknownTablespace(String),
    /// Two directories that lie in one another.
    #[error("{inner} lies in {outer}; each needs a place of its own", inner = inner.display(), outer = outer.display())]
    Nested {
        /// The outer one.
        outer: PathBuf,
        /// The inner one.
        inner: PathBuf,
    },
    /// Inside a data directory that is there.
    #[error("{path} lies in {cluster}, which is the data directory of a cluster", path = path.display(), cluster = cluster.display())]
    InCluster {
        /// What was asked for.
        path: PathBuf,
        /// The data directory.
        cluster: PathBuf,
    },
    /// A relative path.
    #[error("{0} is not an absolute path")]
    Relative(String),
    /// Nothing can be made there by this user.
    #[error("{path} cannot be made: this user may not write in {parent}", path = path.display(), parent = parent.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// The one that it would lie in.
        parent: PathBuf,
    },
    /// It, or a directory on the way to it, is closed to this user.
    #[error("the directory {path} cannot be created or used: this user may not look into {closed}", path = path.display(), closed = closed.display())]
    Closed {
        /// What was asked for.
        path: PathBuf,
        /// The directory that is closed.
        closed: PathBuf,
    },
    /// Root restores, and it is not known for whom.
    #[error("{path} and the directory it lies in belong to root, and there is no user postgres to give the cluster to", path = .0.display())]
    NoOwner(PathBuf),
}

impl Obstacle {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotEmpty(_) => "choose another directory with --to, or move what is there away".into(),
            Self::Unfinished(path) => format!("remove what is in {} and restore again", path.display()),
            Self::NotADirectory(_) | Self::Relative(_) => "choose another path".into(),
            Self::NoParent { parent, .. } => format!("create {} first", parent.display()),
            Self::NoSpace { .. } => "free space, or choose a directory on another file system".into(),
            Self::Unmapped { location, .. } => {
                format!("--tablespace-map {location}=/new/directory, or --tablespace-map {location}={location} for the old place")
            }
            Self::UnknownTablespace(_) => "the plan shows the tablespaces of the backup".into(),
            Self::NoOwner(_) => "create the directory and give it to the user that will run the server".into(),
            Self::NotWritable { parent: owned, .. } | Self::Closed { closed: owned, .. } => {
                format!("run it as the user that owns {}, or choose another directory with --to", owned.display())
            }
            Self::InCluster { cluster, .. } => format!("choose a place outside {}", cluster.display()),
            Self::Nested { .. } | Self::Unreadable { .. } => return None,
        })
    }
}

/// Finds out whether a backup can be restored there.
///
/// # Errors
/// The first obstacle.
pub fn survey(backup: &BackupEntry, directory: &Path, mapping: &[(String, PathBuf)]) -> Result<Site, Obstacle> {
    let directory = std::path::absolute(directory).map_err(unreadable(directory))?;
    let tablespaces = map_tablespaces(&backup.postgres().tablespaces, mapping)?;
    let places: Vec<&PathBuf> = std::iter::once(&directory).chain(tablespaces.values()).collect();
    nested(&places)?;
    places.iter().try_for_each(|place| outside_clusters(place).and_then(|()| check_place(place)))?;
    check_space(backup, &directory, &tablespaces, 0)?;
    let owner = Account::for_directory(&directory).map_err(|_| Obstacle::NoOwner(directory.clone()))?;
    Ok(Site { directory, tablespaces, owner })
}

/// A word where the backup fits, and all the WAL that is replayed would not fit beside it. The server removes it at its restartpoints: how much of it
/// lies there at a time cannot be told, so that this is no obstacle.
#[must_use]
pub fn tight_space(
    backup: &BackupEntry,
    directory: &Path,
    tablespaces: &BTreeMap<u32, PathBuf>,
    wal_bytes: u64,
) -> Option<String> {
    let Err(Obstacle::NoSpace { path, free, needed }) = check_space(backup, directory, tablespaces, wal_bytes) else {
        return None;
    };
    Some(format!(
        "{} has {} free, and the restored files with all the WAL that is replayed take {}: the server removes WAL as it goes, at its restartpoints, \
         and ends if the disk is full before; started again when there is more space, it goes on",
        path.display(),
        size_text(free),
        size_text(needed)
    ))
}

/// Every tablespace outside the data directory needs a place that was named: its old one could belong to a running server.
fn map_tablespaces(known: &[Tablespace], mapping: &[(String, PathBuf)]) -> Result<BTreeMap<u32, PathBuf>, Obstacle> {
    let without_slash = |path: &str| path.trim_end_matches('/').to_owned();
    let new_place = |location: &str| mapping.iter().find(|(old, _)| without_slash(old) == without_slash(location));
    let unknown = |old: &str| !known.iter().any(|tablespace| without_slash(&tablespace.location) == without_slash(old));
    if let Some((old, _)) = mapping.iter().find(|(old, _)| unknown(old)) {
        return Err(Obstacle::UnknownTablespace(old.clone()));
    }
    let outside = known.iter().filter(|tablespace| tablespace.location.starts_with('/'));
    outside
        .map(|Tablespace { oid, location, .. }| match new_place(location) {
            Some((_, new)) if new.is_absolute() => Ok((*oid, new.clone())),
            Some((_, new)) => Err(Obstacle::Relative(new.display().to_string())),
            None => Err(Obstacle::Unmapped { oid: *oid, location: location.clone() }),
        })
        .collect()
}

fn nested(places: &[&PathBuf]) -> Result<(), Obstacle> {
    for (index, outer) in places.iter().enumerate() {
        for (other, inner) in places.iter().enumerate() {
            if index != other && inner.starts_with(outer) {
                return Err(Obstacle::Nested { outer: (*outer).clone(), inner: (*inner).clone() });
            }
        }
    }
    Ok(())
}

/// A server takes everything below its data directory for its own, and every base backup of it would hold the restored cluster, too.
fn outside_clusters(path: &Path) -> Result<(), Obstacle> {
    let place = resolved(path).map_err(unreadable(path))?;
    let is_cluster = |above: &&Path| above.join("PG_VERSION").is_file() && above.join("global").is_dir();
    match place.ancestors().skip(1).find(is_cluster) {
        Some(cluster) => Err(Obstacle::InCluster { path: path.to_owned(), cluster: cluster.to_owned() }),
        None => Ok(()),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Obstacle {
    let path = path.to_owned();
    move |error| Obstacle::Unreadable { path, detail: error.to_string() }
}

/// A place is free where it is not there and its parent is, or where it is an empty directory.
fn check_place(path: &Path) -> Result<(), Obstacle> {
    match fs::read_dir(path) {
        Ok(mut content) => {
            if path.join(UNFINISHED).exists() {
                return Err(Obstacle::Unfinished(path.to_owned()));
            }
            content.next().map_or(Ok(()), |_| Err(Obstacle::NotEmpty(path.to_owned())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(Obstacle::NotADirectory(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(closed(path)),
        Err(error) => Err(unreadable(path)(error)),
    }
}

/// What can be seen last on the way is what is closed.
fn closed(path: &Path) -> Obstacle {
    Obstacle::Closed { path: path.to_owned(), closed: existing(path).to_owned() }
}

fn check_parent(path: &Path) -> Result<(), Obstacle> {
    let is_link = fs::symlink_metadata(path).is_ok();
    let parent = path.parent().unwrap_or_else(|| Path::new("/"));
    match parent.is_dir() && !is_link {
        true if access(parent, AccessFlags::W_OK | AccessFlags::X_OK).is_err() => {
            Err(Obstacle::NotWritable { path: path.to_owned(), parent: parent.to_owned() })
        }
        true => Ok(()),
        false if is_link => Err(Obstacle::NotADirectory(path.to_owned())),
        false => Err(Obstacle::NoParent { path: path.to_owned(), parent: parent.to_owned() }),
    }
}

/// The nearest directory that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or_else(|| Path::new("/"))
}

/// Places on one file system share its space. WAL lies in the data directory.
fn check_space(
    backup: &BackupEntry,
    directory: &Path,
    tablespaces: &BTreeMap<u32, PathBuf>,
    wal_bytes: u64,
) -> Result<(), Obstacle> {
    let detail = backup.postgres();
    let mapped = |oid: u32| detail.tablespaces.iter().find(|tablespace| tablespace.oid == oid).map_or(0, |it| it.bytes);
    let outside: u64 = tablespaces.keys().map(|oid| mapped(*oid)).sum();
    let mut needs: Vec<(&Path, u64)> = vec![(directory, backup.plain_bytes.saturating_sub(outside).saturating_add(wal_bytes))];
    needs.extend(tablespaces.iter().map(|(oid, path)| (path.as_path(), mapped(*oid))));
    let mut devices: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    for (path, needed) in needs {
        let device = fs::metadata(existing(path)).map_err(unreadable(path))?.dev();
        devices.entry(device).or_insert((path, 0)).1 += needed;
    }
    devices.values().try_for_each(|(path, needed)| has_space(path, *needed))
}

fn has_space(path: &Path, needed: u64) -> Result<(), Obstacle> {
    let stat = statvfs(existing(path)).map_err(|errno| unreadable(path)(errno.into()))?;
    // The types of these differ between platforms.
    #[allow(clippy::useless_conversion)]
    let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
    if needed <= free { Ok(()) } else { Err(Obstacle::NoSpace { path: path.to_owned(), free, needed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tablespace(oid: u32, location: &str) -> Tablespace {
        Tablespace { oid, location: location.to_owned(), bytes: 0 }
    }

    #[test]
    fn a_tablespace_never_goes_to_its_old_place_unasked() {
        let known = [tablespace(16384, "/data/fast"), tablespace(16385, "pg_tblspc/16385")];
        assert!(matches!(map_tablespaces(&known, &[]), Err(Obstacle::Unmapped { oid: 16384, .. })));
        let map = |old: &str, new: &str| map_tablespaces(&known, &[(old.to_owned(), PathBuf::from(new))]);
        assert_eq!(map("/data/fast/", "/new"), Ok(BTreeMap::from([(16384, PathBuf::from("/new"))])));
        assert_eq!(map("/data/fast", "new"), Err(Obstacle::Relative("new".to_owned())));
        assert_eq!(map("/data/slow", "/new"), Err(Obstacle::UnknownTablespace("/data/slow".to_owned())));
    }

    #[test]
    fn only_a_new_or_empty_directory_is_free() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        fs::create_dir(path("empty")).unwrap();
        fs::create_dir(path("full")).unwrap();
        fs::write(path("full/PG_VERSION"), "17").unwrap();
        fs::create_dir(path("unfinished")).unwrap();
        fs::write(path("unfinished").join(UNFINISHED), "").unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("link")).unwrap();
        assert_eq!(check_place(&path("empty")), Ok(()));
        assert_eq!(check_place(&path("new")), Ok(()));
        assert_eq!(check_place(&path("full")), Err(Obstacle::NotEmpty(path("full"))));
        assert_eq!(check_place(&path("unfinished")), Err(Obstacle::Unfinished(path("unfinished"))));
        assert_eq!(check_place(&path("full/PG_VERSION")), Err(Obstacle::NotADirectory(path("full/PG_VERSION"))));
        assert_eq!(check_place(&path("link")), Err(Obstacle::NotADirectory(path("link"))));
        assert!(matches!(check_place(&path("a/b")), Err(Obstacle::NoParent { .. })));
    }

    #[test]
    fn a_place_that_is_closed_is_named_with_the_directory_that_is() {
        let scratch = tempfile::tempdir().unwrap();
        let obstacle = closed(&scratch.path().join("a/b"));
        let (place, directory) = (scratch.path().join("a/b"), scratch.path().display());
        let expected =
            format!("the directory {} cannot be created or used: this user may not look into {directory}", place.display());
        assert_eq!(obstacle.to_string(), expected);
        assert!(obstacle.hint().is_some_and(|hint| hint.contains(&format!("owns {directory}, or choose another"))));
    }

    #[test]
    fn a_place_in_a_data_directory_is_refused_even_behind_a_link() {
        let scratch = tempfile::tempdir().unwrap();
        let cluster = scratch.path().canonicalize().unwrap().join("cluster");
        fs::create_dir_all(cluster.join("global")).unwrap();
        fs::write(cluster.join("PG_VERSION"), "17").unwrap();
        std::os::unix::fs::symlink(&cluster, scratch.path().join("link")).unwrap();
        for path in ["cluster/new", "link/base/new"].map(|path| scratch.path().join(path)) {
            assert_eq!(outside_clusters(&path), Err(Obstacle::InCluster { path, cluster: cluster.clone() }));
        }
        assert_eq!(outside_clusters(&scratch.path().join("beside")), Ok(()));
    }

    #[test]
    fn places_do_not_lie_in_one_another() {
        let (outer, inner, other) = (PathBuf::from("/a"), PathBuf::from("/a/b"), PathBuf::from("/ab"));
        assert!(nested(&[&outer, &inner]).is_err() && nested(&[&inner, &outer]).is_err());
        assert!(nested(&[&outer, &outer]).is_err());
        assert_eq!(nested(&[&outer, &other]), Ok(()));
    }

    #[test]
    fn too_little_space_is_noticed() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(matches!(has_space(&scratch.path().join("new"), u64::MAX), Err(Obstacle::NoSpace { .. })));
        assert_eq!(has_space(scratch.path(), 1), Ok(()));
    }
}
