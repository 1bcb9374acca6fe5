//! The password file, `~/.pgpass` (fe-connect.c `passwordFromFile`).

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::HostSpec;

/// A longer file is not a password file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where passwords may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PasswordFile {
    path: PathBuf,
    /// Whether somebody chose it: then it has to be there.
    is_named: bool,
}

impl PasswordFile {
    /// The one that is named; otherwise that of the home directory.
    pub fn of(named: Option<&str>, home: Option<&Path>) -> Option<Self> {
        let named = named.map(|path| Self { path: PathBuf::from(path), is_named: true });
        named.or_else(|| home.map(|home| Self { path: home.join(".pgpass"), is_named: false }))
    }

    /// The password that the file has for this login. That a file is not used is logged with the reason.
    pub fn find(&self, host: &HostSpec, database: &str, user: &str) -> Option<Vec<u8>> {
        match self.read() {
            Ok(content) => lookup(&content, [&host.password_file_name(), &host.port.to_string(), database, user]),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_named => None,
            Err(error) => {
                tracing::warn!(file = %self.path.display(), "the password file is not used: {error}");
                None
            }
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let metadata = std::fs::metadata(&self.path)?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("it is no plain file of a few lines"));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other("others can read it; run chmod 0600 on it"));
        }
        std::fs::read(&self.path)
    }
}

/// The password in the first line whose host, port, database and user match.
fn lookup(content: &[u8], wanted: [&str; 4]) -> Option<Vec<u8>> {
    content.split(|b| *b == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") { None } else { password(line, wanted) }
    })
}

fn password(line: &[u8], wanted: [&str; 4]) -> Option<Vec<u8>> {
    let mut rest = line;
    for wanted in wanted {
        let raw;
        (raw, rest) = split_field(rest)?;
        if raw != b"*" && unescape(raw) != wanted.as_bytes() {
            return None;
        }
    }
    // A password may hold colons; libpq ends it at the first one that is not escaped all the same.
    let raw = split_field(rest).map_or(rest, |(raw, _)| raw);
    Some(unescape(raw)).filter(|password| !password.is_empty())
}

/// The bytes up to the next colon that is not escaped, and those after it.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let colon = line.iter().position(|b| {
        let ends = *b == b':' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    })?;
    Some((&line[..colon], &line[colon + 1..]))
}

/// A backslash takes the next byte literally.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut bytes = raw.iter();
    let mut plain = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        plain.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# a comment:5432:*:me:no\n\
        db1:5432:app:me:first\n\
        db1:*:*:me:se\\:cr\\\\et\n\
        localhost:5432:replication:me:local\r\n\
        *:*:*:you\\:all:yours\n\
        short:line\n";

    fn find(host: &str, port: &str, database: &str, user: &str) -> Option<String> {
        lookup(FILE, [host, port, database, user]).map(|password| String::from_utf8_lossy(&password).into_owned())
    }

    #[test]
    fn a_file_that_somebody_chose_has_to_be_there_and_to_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let kind =
            |named: Option<&str>| PasswordFile::of(named, Some(folder.path())).unwrap().read().map_err(|error| error.to_string());
        assert!(PasswordFile::of(None, None).is_none());
        assert!(kind(None).is_err_and(|error| error.contains("No such file")));
        let path = folder.path().join("chosen");
        std::fs::write(&path, "*:*:*:*:secret").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(kind(path.to_str()).is_err_and(|error| error.contains("chmod 0600")));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(kind(path.to_str()).unwrap(), b"*:*:*:*:secret");
        assert!(kind(folder.path().to_str()).is_err_and(|error| error.contains("no plain file")));
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        assert_eq!(find("db1", "5432", "app", "me").as_deref(), Some("first"));
        assert_eq!(find("db1", "5433", "app", "me").as_deref(), Some("se:cr\\et"));
        assert_eq!(find("localhost", "5432", "replication", "me").as_deref(), Some("local"));
        assert_eq!(find("anywhere", "1", "any", "you:all").as_deref(), Some("yours"));
        assert_eq!(find("db2", "5432", "app", "me"), None);
    }
}
