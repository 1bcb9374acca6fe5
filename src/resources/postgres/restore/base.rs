//! Writing the base backup: packs are fetched side by side, several frames of each in flight, every file checked and written.
//!
//! Invariants: nothing is written outside of the site's directories, and no link is followed: links come last, and only those of
//! tablespaces. A file that differs from its index in size or checksum ends the restore, by the name of its object. The control file is
//! held back until everything else is on disk, and so are the marks of an unfinished restore.

mod pack;
mod place;
mod writer;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use nix::unistd::syncfs;

use super::error::{Error, Result};
use super::site::{Site, UNFINISHED};
use crate::codec::FrameIndex;
use crate::pg::label;
use crate::repository::{BackupEntry, Backups, PackName};
use crate::sys::durable;

pub(super) use place::Places;

/// How many packs are restored side by side.
const PACKS_AT_ONCE: usize = 3;
/// The control file, which makes a directory a cluster.
const CONTROL_FILE: &str = "global/pg_control";

/// How far a restore is, in bytes written.
#[derive(Debug, Clone, Default)]
pub struct Written(Arc<AtomicU64>);

impl Written {
    /// The bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What was held back: the directory is no cluster without it.
#[derive(Debug)]
#[must_use = "without its control file the cluster cannot be started"]
pub struct Unfinished {
    places: Arc<Places>,
    control_file: Vec<u8>,
}

/// Makes sure that every object of a backup is there in its full size, and that there is a key for it, before anything is written.
///
/// # Errors
/// `Error::Damaged` names the object; `Error::Repository` says which identity is missing.
pub async fn check_objects(backups: &Backups, backup: &BackupEntry) -> Result<()> {
    let check = |object: &crate::repository::BackupObject| {
        let (name, expected) = (object.name.clone(), object.stored_bytes);
        async move {
            let damaged = |detail: String| Error::Damaged { object: backups.key(&backup.id, &name), detail };
            match backups.size(&backup.id, &name).await? {
                Some(size) if size == expected => Ok(()),
                Some(size) => Err(damaged(format!("it has {size} bytes instead of {expected}"))),
                None => Err(damaged("it is not there".to_owned())),
            }
        }
    };
    stream::iter(backup.objects.iter().map(check)).buffer_unordered(16).try_collect::<()>().await?;
    match backup.packs().first() {
        Some((pack, ..)) => Ok(backups.get_index(&backup.id, *pack).await.map(drop)?),
        None => Ok(()),
    }
}

/// Writes everything but the control file.
///
/// # Errors
/// When an object is damaged or missing, or a file cannot be written. The directory then stays marked as unfinished.
pub async fn write(backups: &Backups, backup: &BackupEntry, site: &Site, written: &Written) -> Result<Unfinished> {
    let places = Arc::new(Places::new(site, backup)?);
    places.create_all()?;
    let job = Arc::new(pack::Job {
        memory: pack::memory(),
        backups: backups.clone(),
        backup: backup.clone(),
        places: Arc::clone(&places),
    });
    let packs: Vec<(PackName, String)> = backup.packs().iter().map(|(name, pack, _)| (*name, pack.name.clone())).collect();
    let restored = packs.into_iter().map(|(name, object)| pack::restore(Arc::clone(&job), name, object, written.clone()));
    let mut held: Vec<writer::HeldBack> = stream::iter(restored).buffer_unordered(PACKS_AT_ONCE).try_collect().await?;
    write_manifest(backups, backup, &places).await?;
    let labels: usize = held.iter().map(|held| held.labels).sum();
    let control_file = held.iter_mut().find_map(|held| held.control_file.take());
    let incomplete = |what: &str| Error::Damaged { object: format!("backup {}", backup.id), detail: what.to_owned() };
    let control_file = control_file.ok_or_else(|| incomplete("no pack has the control file"))?;
    if labels != 1 {
        return Err(incomplete("its packs do not have exactly one backup_label"));
    }
    Ok(Unfinished { places, control_file })
}

/// PostgreSQL's own list of files, byte for byte, so that `pg_verifybackup` can check the directory.
async fn write_manifest(backups: &Backups, backup: &BackupEntry, places: &Places) -> Result<()> {
    let object = &backup.postgres().manifest;
    let damaged = |detail: String| Error::Damaged { object: backups.key(&backup.id, &object.name), detail };
    let plain = read_framed(backups, backup, &object.name, &object.frames).await?;
    let recorded = backup.object(&object.name).map_or(0, |listed| listed.plain_bytes);
    if plain.len() as u64 != recorded {
        return Err(damaged(format!("it holds {} bytes instead of {recorded}", plain.len())));
    }
    places.write_file(Path::new("backup_manifest"), &plain, 0o600)
}

async fn read_framed(backups: &Backups, backup: &BackupEntry, name: &str, frames: &FrameIndex) -> Result<Vec<u8>> {
    let object = backups.open_object(&backup.id, name).await?;
    let mut plain = Vec::new();
    for frame in frames.frames() {
        plain.extend_from_slice(&pack::read_frame(&object, *frame).await?);
    }
    Ok(plain)
}

impl Unfinished {
    /// The control file's bytes.
    #[must_use]
    pub fn control_file(&self) -> &[u8] {
        &self.control_file
    }

    /// Writes a file of the data directory in place of one that the backup had, if any.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        self.places.write_file(Path::new(name), content, 0o600)
    }

    /// The content of a file of the data directory; none where it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.places.directory().join(name);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// Links the tablespaces, brings everything to disk, and makes the directory a cluster.
    ///
    /// # Errors
    /// When something cannot be written or synced. The directory then stays marked as unfinished.
    pub fn finish(self) -> Result<()> {
        self.link_tablespaces()?;
        self.sync()?;
        self.places.write_file(Path::new(CONTROL_FILE), &self.control_file, 0o600)?;
        self.sync()?;
        let mark = self.places.directory().join(UNFINISHED);
        durable::remove(&mark).map_err(Error::file("remove", &mark))
    }

    /// The server makes the links anew from `tablespace_map`, so that this has to name the new places too.
    fn link_tablespaces(&self) -> Result<()> {
        for (oid, place) in self.places.tablespaces() {
            let link = self.places.directory().join("pg_tblspc").join(oid.to_string());
            symlink(place, &link).map_err(Error::file("link", &link))?;
            self.places.own(&link)?;
        }
        let Some(stored) = self.read("tablespace_map")? else { return Ok(()) };
        let damaged =
            |error: label::LabelError| Error::Damaged { object: "tablespace_map".to_owned(), detail: error.to_string() };
        let old = label::parse_tablespace_map(&stored).map_err(damaged)?;
        let mut new = old.clone();
        for tablespace in &mut new {
            if let Some(place) = self.places.tablespaces().get(&tablespace.oid) {
                tablespace.path.clone_from(place);
            }
        }
        if new == old { Ok(()) } else { self.replace("tablespace_map", &label::write_tablespace_map(&new)) }
    }

    /// Every file system that was written to, as a whole: syncing thousands of small files one by one takes far longer.
    fn sync(&self) -> Result<()> {
        let places: BTreeSet<&Path> = self.places.all().collect();
        for place in places {
            let folder = fs::File::open(place).map_err(Error::file("open", place))?;
            syncfs(&folder).map_err(|errno| Error::file("sync", place)(errno.into()))?;
        }
        Ok(())
    }
}
