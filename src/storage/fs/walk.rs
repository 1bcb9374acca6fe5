//! Listing a tree of folders in the order of keys, a page at a time, in bounded memory.
//!
//! Keys are ordered by their bytes, so a folder `a` stands where `a/` stands: after the file `a-b`, since `-` comes before `/`.

use std::collections::BinaryHeap;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::root::DRAFTS;
use crate::storage::ObjectKey;

/// How many names of one folder are held at once.
const NAMES: usize = 2000;
/// How often a page is listed while files go.
const LOOKS_MAX: usize = 5;

/// The files whose keys begin with `prefix` and come after `after`, in order, at most `limit`.
pub fn page(root: &Path, prefix: &str, after: Option<&str>, limit: usize) -> io::Result<Vec<(String, Metadata)>> {
    looked_at(root, prefix, after.unwrap_or(""), limit, fs::metadata)
}

/// The same with what `look` finds out about each file. Where one has gone since its name was read, another one may have come in its place before, whose
/// name was not read: a slice of WAL that several were joined to. Then it is looked again, so that not both are left out.
fn looked_at<T>(
    root: &Path,
    prefix: &str,
    after: &str,
    limit: usize,
    look: impl Fn(PathBuf) -> io::Result<T> + Copy,
) -> io::Result<Vec<(String, T)>> {
    let mut looks = 1;
    loop {
        let (found, vanished) = Walk { root, prefix, after, limit, look, found: Vec::new(), vanished: false }.walked()?;
        if !vanished || looks == LOOKS_MAX {
            return Ok(found);
        }
        looks += 1;
    }
}

/// The keys that begin with `prefix`, in order.
pub fn keys(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let found = looked_at(root, prefix, "", usize::MAX, |_| Ok(()))?;
    Ok(found.into_iter().map(|(key, ())| key).collect())
}

/// The folders directly below `prefix` that have files somewhere below them, sorted.
pub fn folders(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    if !is_plain(prefix) {
        return Ok(found);
    }
    for entry in read(&root.join(prefix))? {
        let entry = entry?;
        let Some(name) = name_of(prefix, &entry)? else { continue };
        if name.ends_with('/') && has_files(&entry.path())? {
            found.push(name.trim_end_matches('/').to_owned());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether a folder, with its slash, can be part of a key. Of one that cannot be there are no objects.
fn is_plain(folder: &str) -> bool {
    folder.is_empty() || folder.strip_suffix('/').is_some_and(|name| ObjectKey::new(name).is_some())
}

struct Walk<'a, Look, T> {
    root: &'a Path,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    /// What is found out about each file.
    look: Look,
    found: Vec<(String, T)>,
    /// Whether a file had gone when it was looked at.
    vanished: bool,
}

impl<Look: Fn(PathBuf) -> io::Result<T>, T> Walk<'_, Look, T> {
    fn walked(mut self) -> io::Result<(Vec<(String, T)>, bool)> {
        let folder = self.prefix.rfind('/').map_or("", |slash| &self.prefix[..=slash]);
        if is_plain(folder) {
            self.descend(folder)?;
        }
        Ok((self.found, self.vanished))
    }

    fn descend(&mut self, folder: &str) -> io::Result<()> {
        let mut past = String::new();
        while self.found.len() < self.limit {
            let (names, more) = self.names(folder, &past)?;
            for name in &names {
                self.visit(folder, name)?;
            }
            match names.into_iter().next_back() {
                Some(last) if more => past = last,
                _ => break,
            }
        }
        Ok(())
    }

    fn visit(&mut self, folder: &str, name: &str) -> io::Result<()> {
        let key = format!("{folder}{name}");
        if self.found.len() >= self.limit {
            return Ok(());
        }
        if name.ends_with('/') {
            return self.descend(&key);
        }
        match (self.look)(self.root.join(&key)) {
            // Removed since its name was read: an object that is not there any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.vanished = true;
                Ok(())
            }
            Err(error) => Err(error),
            Ok(seen) => {
                self.found.push((key, seen));
                Ok(())
            }
        }
    }

    /// The first names of a folder, in order, that come after `past` and may lead to a wanted key; and whether there are more.
    fn names(&self, folder: &str, past: &str) -> io::Result<(Vec<String>, bool)> {
        let mut first = BinaryHeap::new();
        let mut more = false;
        // What cannot be wanted is not looked at any closer: most of the names in a folder of many segments.
        let begin = self.prefix.get(folder.len()..).and_then(|rest| rest.split('/').next()).unwrap_or("");
        for entry in read(&self.root.join(folder))? {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(begin.as_bytes()) {
                continue;
            }
            match name_of(folder, &entry)? {
                Some(name) if name.as_str() > past && self.wants(&format!("{folder}{name}")) => first.push(name),
                _ => continue,
            }
            if first.len() > NAMES {
                first.pop();
                more = true;
            }
        }
        Ok((first.into_sorted_vec(), more))
    }

    fn wants(&self, path: &str) -> bool {
        match path.ends_with('/') {
            true => {
                let prefixed = path.starts_with(self.prefix) || self.prefix.starts_with(path);
                prefixed && (path > self.after || self.after.starts_with(path))
            }
            false => path.starts_with(self.prefix) && path > self.after,
        }
    }
}

/// The entries of a folder; none if it is missing.
fn read(folder: &Path) -> io::Result<Box<dyn Iterator<Item = io::Result<DirEntry>>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Box::new(entries)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(Box::new(std::iter::empty()))
        }
        Err(error) => Err(error),
    }
}

/// The name of an entry, with a slash if it is a folder; `None` for what cannot be part of a key, or is the store's own.
fn name_of(folder: &str, entry: &DirEntry) -> io::Result<Option<String>> {
    let Some(name) = entry.file_name().into_string().ok().filter(|name| ObjectKey::new(name).is_some()) else { return Ok(None) };
    if folder.is_empty() && name == DRAFTS {
        return Ok(None);
    }
    let mut kind = entry.file_type()?;
    if kind.is_symlink() {
        // A link that leads nowhere stands for a disk that is not there: an error, and not a name left out.
        kind = fs::metadata(entry.path())
            .map_err(|error| io::Error::other(format!("{}: {error}", entry.path().display())))?
            .file_type();
    }
    Ok(match kind {
        kind if kind.is_dir() => Some(name + "/"),
        kind if kind.is_file() => Some(name),
        _ => None,
    })
}

/// Whether there are files somewhere below a folder. As in a listing it is looked again where some have gone meanwhile.
fn has_files(folder: &Path) -> io::Result<bool> {
    for _ in 0..LOOKS_MAX {
        if let Some(found) = look_for_files(folder)? {
            return Ok(found);
        }
    }
    Ok(false)
}

/// None where there were some that have gone since.
fn look_for_files(folder: &Path) -> io::Result<Option<bool>> {
    let mut vanished = false;
    for entry in read(folder)? {
        let entry = entry?;
        let kind = entry.metadata().map(|metadata| metadata.file_type());
        match kind {
            Ok(kind) if kind.is_dir() => {
                if has_files(&entry.path())? {
                    return Ok(Some(true));
                }
            }
            Ok(_) => return Ok(Some(true)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => vanished = true,
            Err(error) => return Err(error),
        }
    }
    Ok((!vanished).then_some(false))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_put_in_the_place_of_others_while_they_are_listed_is_not_left_out_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a-1", "a-2", "b"] {
            fs::write(path(name), name).unwrap();
        }
        let joined = Cell::new(false);
        let look = |seen: PathBuf| {
            if !joined.replace(true) {
                fs::write(path("a-3"), "a-3").unwrap();
                fs::remove_file(path("a-1")).unwrap();
                fs::remove_file(path("a-2")).unwrap();
            }
            fs::metadata(seen).map(|_| ())
        };
        let found = looked_at(folder.path(), "", "", 10, look).unwrap();
        assert_eq!(found.into_iter().map(|(key, ())| key).collect::<Vec<_>>(), ["a-3", "b"]);
        // What goes on and on is listed as far as it is there.
        let gone = |_: PathBuf| Err::<(), _>(io::ErrorKind::NotFound.into());
        assert!(looked_at(folder.path(), "", "", 10, gone).unwrap().is_empty());
    }
}
