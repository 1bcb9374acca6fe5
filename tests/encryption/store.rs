//! The files of a repository in a directory, looked at with public programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::key::Key;
use crate::site::Site;

/// What every age file begins with.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// All files of the repository.
pub fn objects(site: &Site) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![site.holdfast.scratch().path().join("store")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("read a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Whether a file is an age file.
pub fn is_encrypted(object: &Path) -> bool {
    fs::read(object).expect("read an object").starts_with(AGE)
}

/// The content of an encrypted object, by `age` and `zstd` alone.
pub fn content(object: &Path, key: &Key) -> Vec<u8> {
    let mut age = Command::new("age").arg("-d").arg("-i").arg(&key.file).arg(object).stdout(Stdio::piped()).spawn().expect("age");
    let from = age.stdout.take().expect("age's output");
    let zstd = Command::new("zstd").arg("-dc").stdin(from).output().expect("zstd");
    assert!(age.wait().expect("age ends").success() && zstd.status.success(), "{} does not open", object.display());
    zstd.stdout
}

/// Whether the text is in a file, as it is or compressed.
pub fn shows(object: &Path, text: &str) -> bool {
    let raw = fs::read(object).expect("read an object");
    let zstd = Command::new("zstd").args(["-dcq"]).arg(object).output().expect("zstd");
    [raw, zstd.stdout].iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// The key of an object in the repository.
pub fn key_of(object: &Path) -> String {
    let path = object.display().to_string();
    path.split_once("/store/").expect("an object lies in the store").1.to_owned()
}
