//! A dump as files: for `pg_restore` by hand, or to look into.

use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt;

use crate::repository::{BackupEntry, DumpFormat};
use crate::resources::Run;
use crate::resources::dump::directory;
use crate::resources::dump::error::{Error, Result};
use crate::resources::dump::inventory::detail;
use crate::resources::dump::load::{object, open};
use crate::resources::place::check_replaceable;
use crate::sys::durable::Draft;

/// Only its owner may read what the database holds.
const MODE: u32 = 0o600;
/// What the globals are called beside the dump.
const GLOBALS: &str = ".globals.sql";

/// A restore to files that was planned.
#[derive(Debug)]
pub(super) struct FilePlan {
    path: PathBuf,
    globals: Option<PathBuf>,
    format: DumpFormat,
    bytes: u64,
    replaces: bool,
}

impl FilePlan {
    pub(super) fn new(run: &Run, backup: &BackupEntry, to: &Path) -> Result<Self> {
        let path = std::path::absolute(to).map_err(Error::file("find", to))?;
        let detail = detail(&run.repository, backup)?;
        let bytes = object(run, backup, &detail.archive)?.plain_bytes;
        let globals = detail.globals.as_ref().map(|_| {
            let mut beside = path.clone().into_os_string();
            beside.push(GLOBALS);
            PathBuf::from(beside)
        });
        let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
        let replaces = is_there(&path) || globals.as_ref().is_some_and(is_there);
        if detail.format == DumpFormat::Directory && is_there(&path) {
            let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(Error::file("create", &path)(taken));
        }
        [Some(&path), globals.as_ref()].into_iter().flatten().try_for_each(|path| check_replaceable(path))?;
        Ok(Self { path, globals, format: detail.format, bytes, replaces })
    }

    pub(super) const fn replaces(&self) -> bool {
        self.replaces
    }

    pub(super) fn text(&self) -> String {
        let what = match (self.format, self.replaces) {
            (DumpFormat::Directory, _) => "to the new directory",
            (DumpFormat::Custom, true) => "in place of what is there, to the file",
            (DumpFormat::Custom, false) => "to the file",
        };
        let globals = self.globals.as_ref().map(|path| format!(", with the server's globals in {}", path.display()));
        format!("{} bytes {what} {}{}", self.bytes, self.path.display(), globals.unwrap_or_default())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "to": self.path, "globals": self.globals, "bytes": self.bytes, "replaces": self.replaces })
    }

    /// Writes the files; what to do next.
    pub(super) async fn write(&self, run: &Run, backup: &BackupEntry) -> Result<String> {
        let detail = detail(&run.repository, backup)?;
        run.progress.expect(self.bytes);
        match self.format {
            DumpFormat::Custom => write(run, backup, &detail.archive, &self.path).await?,
            DumpFormat::Directory => {
                let content = open(run, backup, &detail.archive).await?;
                directory::unpack(content, &self.path, &run.progress).await?;
                let path = self.path.clone();
                let synced = tokio::task::spawn_blocking(move || directory::sync(&path)).await;
                synced.map_err(|panic| Error::Interrupted(panic.to_string()))??;
            }
        }
        if let (Some(path), Some(name)) = (&self.globals, &detail.globals) {
            write(run, backup, name, path).await?;
        }
        Ok(format!(
            "restored to {}; pg_restore of PostgreSQL {} or newer reads it. It holds the database in the clear.",
            self.path.display(),
            detail.program_major
        ))
    }
}

/// Writes a file beside its place and gives it its name when it is whole.
async fn write(run: &Run, backup: &BackupEntry, name: &str, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut draft = Draft::begin(folder, MODE).map_err(Error::file("create a file beside", path))?;
    let mut content = open(run, backup, name).await?;
    while let Some(piece) = content.try_next().await? {
        run.progress.done(piece.len() as u64);
        draft.write(&piece).map_err(Error::file("write", path))?;
    }
    let synced = draft.sync().map_err(Error::file("sync", path))?;
    synced.replace(path).map_err(Error::file("name", path))
}

/// Writes the dump itself to standard output: of the directory format the tar file.
pub(super) async fn print(run: &Run, backup: &BackupEntry, output: &mut (dyn Write + Send)) -> Result<()> {
    let failed = || Error::file("write to", Path::new("standard output"));
    let mut content = open(run, backup, &detail(&run.repository, backup)?.archive).await?;
    while let Some(piece) = content.try_next().await? {
        output.write_all(&piece).map_err(failed())?;
    }
    output.flush().map_err(failed())
}
