//! A directory that objects are restored to. No link in it is followed, and each file appears whole.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use super::super::line::{Line, Lines};
use super::super::survey::{Mark, Survey};
use super::RestoreRequest;
use super::names::Names;
use crate::codec::{Hash, Hasher};
use crate::sys::durable::{Draft, create_folders, remove};

const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const READ_BYTES: usize = 1 << 20;

/// A directory, and what objects are called in it.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    names: Names,
}

impl Directory {
    pub fn new(root: PathBuf) -> Self {
        Self { root, names: Names::default() }
    }

    /// The same with names for the objects of a listing.
    pub async fn named(self, lines: Lines, request: &RestoreRequest) -> Result<Self> {
        Ok(Self { names: Names::find(lines, request).await?, ..self })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The files in it.
    pub fn walk(&self) -> Walk {
        Walk { root: self.root.clone(), folders: vec![PathBuf::new()], ready: Vec::new() }
    }

    /// The files in it.
    pub async fn survey(&self, part: u32, parts: u32) -> Result<Survey> {
        let mut survey = Survey::new(part, parts);
        let mut walk = self.walk();
        while let Some((name, bytes)) = walk.next().await? {
            survey.take(&name, bytes.map_or([0xFF; 8], u64::to_le_bytes), bytes.unwrap_or(0));
        }
        survey.sort();
        Ok(survey)
    }

    /// Whether a file has the content that a line says.
    pub async fn is_right(&self, line: &Line, name: &str, mark: Mark) -> Result<bool> {
        if mark != line.size.to_le_bytes() {
            return Ok(false);
        }
        let (path, expected) = (self.root.join(name), line.blake3);
        blocking(move || Ok(hash_of_file(&path)? == Some(expected))).await
    }

    /// Begins the file of a name.
    pub async fn begin(&self, name: &str) -> Result<NewFile> {
        let (root, name) = (self.root.clone(), name.to_owned());
        blocking(move || NewFile::begin(&root, &name)).await
    }

    /// Removes a file, if it is still there. What was a folder on the way to it may be a link by now, which leads elsewhere.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let (root, name) = (self.root.clone(), name.to_owned());
        blocking(move || delete(&root, &name)).await
    }
}

fn delete(root: &Path, name: &str) -> Result<()> {
    let mut folder = root.to_owned();
    for part in folders_of(name) {
        folder.push(part);
        if !is_folder(&folder)? {
            return Ok(());
        }
    }
    let path = root.join(name);
    match remove(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::file("remove", &path)),
    }
}

/// The folders that a file lies in, without its own name.
fn folders_of(name: &str) -> impl Iterator<Item = &str> {
    name.rsplit_once('/').into_iter().flat_map(|(folders, _)| folders.split('/'))
}

/// Whether a folder is there. A link, or a file in its place, is in the way.
fn is_folder(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(there) if there.is_dir() => Ok(true),
        Ok(_) => Err(Error::InTheWay { path: path.to_owned(), wanted: "directory" }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("look at", path)(error)),
    }
}

/// A file that is being written.
pub(super) struct NewFile {
    path: PathBuf,
    draft: Draft,
}

impl NewFile {
    /// Makes the folders that it lies in, none of which may be a link.
    fn begin(root: &Path, name: &str) -> Result<Self> {
        create_folders(root, FOLDER_MODE).map_err(Error::file("create", root))?;
        let path = root.join(name);
        let mut folder = root.to_owned();
        for part in folders_of(name) {
            folder.push(part);
            if !is_folder(&folder)? {
                create_folders(&folder, FOLDER_MODE).map_err(Error::file("create", &folder))?;
            }
        }
        if path.symlink_metadata().is_ok_and(|there| there.is_dir()) {
            return Err(Error::InTheWay { path, wanted: "file" });
        }
        let draft = Draft::begin(&folder, FILE_MODE).map_err(Error::file("create a file in", &folder))?;
        Ok(Self { path, draft })
    }

    /// Adds content.
    pub async fn write(mut self, content: bytes::Bytes) -> Result<Self> {
        blocking(move || {
            self.draft.write(&content).map_err(Error::file("write", &self.path))?;
            Ok(self)
        })
        .await
    }

    /// Brings it to disk and gives it its name.
    pub async fn finish(self) -> Result<()> {
        blocking(move || {
            let synced = self.draft.sync().map_err(Error::file("sync", &self.path))?;
            synced.replace(&self.path).map_err(Error::file("name", &self.path))
        })
        .await
    }
}

/// The files below a directory, folder by folder; links count as files.
pub(super) struct Walk {
    root: PathBuf,
    folders: Vec<PathBuf>,
    ready: Vec<(String, Option<u64>)>,
}

impl Walk {
    /// The next one's path below the directory, and its size; none of what is no regular file. Names that are not UTF-8 are of no key, and left out.
    pub async fn next(&mut self) -> Result<Option<(String, Option<u64>)>> {
        loop {
            if let Some(found) = self.ready.pop() {
                return Ok(Some(found));
            }
            let Some(folder) = self.folders.pop() else { return Ok(None) };
            let root = self.root.clone();
            let (folders, files) = blocking(move || look(&root, &folder)).await?;
            self.folders.extend(folders);
            self.ready = files;
        }
    }
}

type Found = (Vec<PathBuf>, Vec<(String, Option<u64>)>);

fn look(root: &Path, folder: &Path) -> Result<Found> {
    let path = root.join(folder);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        entries => entries.map_err(Error::file("list", &path))?,
    };
    let (mut folders, mut files) = Found::default();
    for entry in entries {
        let entry = entry.map_err(Error::file("list", &path))?;
        let below = folder.join(entry.file_name());
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            metadata => metadata.map_err(Error::file("look at", &path))?,
        };
        match below.to_str() {
            _ if metadata.is_dir() => folders.push(below),
            Some(name) => files.push((name.to_owned(), metadata.is_file().then_some(metadata.len()))),
            None => {}
        }
    }
    Ok((folders, files))
}

/// The hash of a file's content; `None` for what is no regular file.
fn hash_of_file(path: &Path) -> Result<Option<Hash>> {
    if !path.symlink_metadata().is_ok_and(|there| there.is_file()) {
        return Ok(None);
    }
    let mut file = fs::File::open(path).map_err(Error::file("read", path))?;
    let (mut hash, mut buffer) = (Hasher::new(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer).map_err(Error::file("read", path))? {
            0 => return Ok(Some(hash.finish())),
            read => hash.update(&buffer[..read]),
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Interrupted(panic.to_string()))?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_that_came_meanwhile_leads_a_removal_elsewhere() {
        let scratch = tempfile::tempdir().expect("a directory");
        let [root, outside] = ["root", "outside"].map(|name| scratch.path().join(name));
        for file in [root.join("a/b/file"), outside.join("b/file")] {
            create_folders(file.parent().expect("a folder"), FOLDER_MODE).expect("create folders");
            fs::write(file, "").expect("write a file");
        }
        symlink(outside.join("b"), root.join("link")).expect("link");
        symlink(&outside, root.join("a/link")).expect("link");
        for name in ["link/file", "a/link/b/file"] {
            assert!(matches!(delete(&root, name), Err(Error::InTheWay { .. })), "{name}");
        }
        assert!(outside.join("b/file").exists(), "it is no part of the directory");
        // The link itself is one of the files.
        for name in ["a/b/file", "link", "a/b/file", "none/file"] {
            delete(&root, name).expect("it is gone, or was before");
        }
        assert!(!root.join("a/b/file").exists() && root.join("link").symlink_metadata().is_err());
    }
}
