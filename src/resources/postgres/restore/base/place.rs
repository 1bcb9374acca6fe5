//! Where an entry of a pack goes, and who owns it there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::repository::{BackupEntry, EntryPath, PackArchive};
use crate::resources::postgres::restore::error::{Error, Result};
use crate::resources::postgres::restore::site::{Obstacle, Site, UNFINISHED};
use crate::sys::fail_point;

/// What the mark of an unfinished restore says.
const UNFINISHED_TEXT: &[u8] =
    b"A restore into this directory has not finished. It is no cluster: remove it and restore again.\n";

/// The directories of a restore.
#[derive(Debug)]
pub(in crate::resources::postgres::restore) struct Places {
    site: Site,
    directory_mode: u32,
}

impl Places {
    pub(super) fn new(site: &Site, backup: &BackupEntry) -> Result<Self> {
        let mode = &backup.postgres().data_directory_mode;
        // PostgreSQL starts on these two and no others.
        let directory_mode = u32::from_str_radix(mode, 8).ok().filter(|mode| [0o700, 0o750].contains(mode)).unwrap_or(0o700);
        Ok(Self { site: site.clone(), directory_mode })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.site.directory
    }

    pub(super) const fn tablespaces(&self) -> &BTreeMap<u32, PathBuf> {
        &self.site.tablespaces
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.directory()).chain(self.site.tablespaces.values().map(PathBuf::as_path))
    }

    /// Makes the directories, or takes the empty ones that are there, and marks the restore as unfinished.
    pub(super) fn create_all(&self) -> Result<()> {
        for place in self.all() {
            self.create_directory(place, self.directory_mode)?;
            // It was looked at before; another restore may have been quicker.
            let taken = fs::read_dir(place).map_err(Error::file("read", place))?.next().is_some();
            if taken {
                return Err(Obstacle::NotEmpty(place.to_owned()).into());
            }
        }
        self.write_file(Path::new(UNFINISHED), UNFINISHED_TEXT, 0o600)?;
        let place = self.directory().join("pg_tblspc");
        self.create_directory(&place, self.directory_mode)
    }

    /// The path of an entry. Nothing but plain names gets through, and nothing into a tablespace that lies elsewhere.
    pub(super) fn path(&self, archive: PackArchive, entry: &EntryPath) -> Option<PathBuf> {
        let relative = Path::new(OsStr::from_bytes(entry.as_bytes()));
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_))) && !entry.as_bytes().contains(&0);
        if !plain || entry.as_bytes().is_empty() {
            return None;
        }
        match archive {
            PackArchive::Base if self.lies_in_mapped_tablespace(relative) => None,
            PackArchive::Base => Some(self.directory().join(relative)),
            PackArchive::Tablespace(oid) => Some(self.tablespace(oid).join(relative)),
        }
    }

    fn tablespace(&self, oid: u32) -> PathBuf {
        let within = || self.directory().join("pg_tblspc").join(oid.to_string());
        self.site.tablespaces.get(&oid).cloned().unwrap_or_else(within)
    }

    fn lies_in_mapped_tablespace(&self, relative: &Path) -> bool {
        let links = self.site.tablespaces.keys().map(|oid| Path::new("pg_tblspc").join(oid.to_string()));
        links.into_iter().any(|link| relative.starts_with(link))
    }

    /// Makes a directory, with those above it that are missing; one that is there gets the mode.
    pub(super) fn create_directory(&self, path: &Path, mode: u32) -> Result<()> {
        self.create_parent(path)?;
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::file("create", path)(error)),
            _ => fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::file("set the mode of", path))?,
        }
        self.own(path)
    }

    /// Packs come in any order: a file may be there before the entry of its directory.
    fn create_parent(&self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or_else(|| Path::new("/"));
        let ours = self.all().any(|place| parent.starts_with(place));
        if ours && !parent.is_dir() { self.create_directory(parent, self.directory_mode) } else { Ok(()) }
    }

    /// A new file, open for writing. What is there already is an error: no file is in a backup twice.
    pub(super) fn create_file(&self, path: &Path, mode: u32) -> Result<File> {
        fail_point::reach("file.before", || path.display().to_string()).map_err(Error::file("create", path))?;
        self.create_parent(path)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(Error::file("create", path))?;
        if mode & 0o077 != 0 {
            // The umask has taken the rights of others away; who may read them is the original's decision.
            file.set_permissions(Permissions::from_mode(mode)).map_err(Error::file("set the mode of", path))?;
        }
        self.own(path)?;
        Ok(file)
    }

    /// Writes a file of the data directory, in place of one that may be there.
    pub(super) fn write_file(&self, relative: &Path, content: &[u8], mode: u32) -> Result<()> {
        let path = self.directory().join(relative);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::file("replace", &path)(error)),
            _ => {}
        }
        let mut file = self.create_file(&path, mode)?;
        file.write_all(content).map_err(Error::file("write", &path))
    }

    /// Gives a file, a directory or a link to whom everything will belong.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        self.site.owner.give(path).map_err(Error::file("give away", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::local_postgres::Account;

    fn places() -> Places {
        let tablespaces = BTreeMap::from([(16384, PathBuf::from("/mapped"))]);
        let directory = PathBuf::from("/target");
        let site = Site { owner: Account::for_directory(&directory).unwrap(), directory, tablespaces };
        Places { site, directory_mode: 0o700 }
    }

    #[test]
    fn nothing_leaves_its_place() {
        for path in ["", "/etc/passwd", "..", "../a", "a/../../b", "./a", "a\0b", "pg_tblspc/16384/a", "pg_tblspc/16384"] {
            let found = places().path(PackArchive::Base, &EntryPath(path.into()));
            assert!(found.is_none(), "{path:?} would be {found:?}");
        }
        assert!(places().path(PackArchive::Tablespace(16384), &EntryPath("../a".into())).is_none());
    }

    #[test]
    fn each_archive_has_its_directory() {
        let path = |archive: PackArchive, path: &str| places().path(archive, &EntryPath(path.into())).unwrap();
        assert_eq!(path(PackArchive::Base, "base/1/2"), Path::new("/target/base/1/2"));
        assert_eq!(path(PackArchive::Base, "pg_tblspc/163841/x"), Path::new("/target/pg_tblspc/163841/x"));
        assert_eq!(path(PackArchive::Tablespace(16384), "PG_17/5"), Path::new("/mapped/PG_17/5"));
        assert_eq!(path(PackArchive::Tablespace(5), "PG_17/5"), Path::new("/target/pg_tblspc/5/PG_17/5"));
    }
}
