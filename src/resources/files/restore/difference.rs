//! The difference between a backup and what is there: a value, shown before anything is done.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{FileStat, SFlag};
use serde::{Serialize, Serializer};

use super::compare::is_directory;
use crate::codec::Hasher;
use crate::repository::EntryPath;
use crate::resources::files::tar::{Kind, Member};

/// How many changes are named, and how many of them with their text.
const NAMED_MAX: usize = 500;

/// What a restore would do.
#[derive(Debug, Default, Serialize)]
pub(super) struct Difference {
    /// How many things are new.
    pub added: u64,
    /// How many are there and differ.
    pub changed: u64,
    /// How many are there as they were backed up.
    pub unchanged: u64,
    /// Whether what the backup does not have is removed.
    pub delete_extra: bool,
    /// The first changes by name.
    pub changes: Vec<Change>,
    /// What is there and not in the backup.
    pub extra: Vec<AnyPath>,
    /// Directories that are not in the backup either, and stay: they hold something that no backup has.
    pub occupied: Vec<AnyPath>,
    /// What restores that were killed have left there.
    pub drafts: Vec<AnyPath>,
    /// Directories that become something else, and cannot, because there is something in them that stays.
    pub filled: Vec<AnyPath>,
    /// Paths of the resource that were none when the backup was taken: what is there stays.
    pub beyond: Vec<AnyPath>,
    /// What was left out of the backup when it was taken, and is not now: what there is of it stays.
    pub left_out_then: Vec<String>,
    /// Whether the backup records what was left out of it: otherwise nothing is removed.
    pub is_recorded: bool,
    /// Whether owners can be given: only root can.
    pub owners: bool,
    /// Directories that become something else.
    #[serde(skip)]
    pub replaced: Vec<PathBuf>,
    /// The members that have to be written, and what is there in their places.
    #[serde(skip)]
    pub write: HashMap<PathMark, Seen>,
    /// All members.
    #[serde(skip)]
    pub all: HashSet<PathMark>,
    /// Further names that are wanted of files whose first names are not, by these. They are files of their own: the content comes from the
    /// member of the first name, in a second reading of the archive.
    #[serde(skip)]
    pub alone: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Members that alone are wanted, and that the backup does not have.
    #[serde(skip)]
    pub missing: Vec<Vec<u8>>,
}

/// A path in sixteen bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PathMark([u8; 16]);

impl PathMark {
    pub(super) fn of(path: &[u8]) -> Self {
        let hash = crate::codec::Hash::of(path);
        Self(hash.0.first_chunk().copied().unwrap_or_default())
    }
}

/// What was found at a place, in eight bytes: whether it was changed since shows in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen([u8; 8]);

impl Seen {
    /// Nothing is there.
    pub(super) const NOTHING: Self = Self([0; 8]);

    pub(super) fn of(status: Option<&FileStat>) -> Self {
        let Some(status) = status else { return Self::NOTHING };
        // A directory changes with what is restored into it. That a file has one name less changes none of these.
        let own = if is_directory(status) { [0; 3] } else { [status.st_size, status.st_mtime, status.st_mtime_nsec] };
        let mut hash = Hasher::new();
        hash.update(&(status.st_mode & SFlag::S_IFMT.bits()).to_le_bytes());
        [status.st_dev, status.st_ino].iter().for_each(|number| hash.update(&number.to_le_bytes()));
        own.iter().for_each(|number| hash.update(&number.to_le_bytes()));
        Self(hash.finish().0.first_chunk().copied().unwrap_or_default())
    }

    /// Whether nothing is there any more, or what was there `before`: then nothing is lost that was not spoken of.
    pub(super) fn is_gone_or(self, before: Self) -> bool {
        self == Self::NOTHING || self == before
    }
}

/// A path of any bytes: in JSON a string, or its bytes in hexadecimal; for people without anything that a terminal obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AnyPath(pub PathBuf);

impl AsRef<Path> for AnyPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Serialize for AnyPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EntryPath(self.0.as_os_str().as_bytes().to_vec()).serialize(serializer)
    }
}

impl fmt::Display for AnyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        text.chars().try_for_each(|letter| {
            if letter.is_control() { write!(f, "{}", letter.escape_default()) } else { write!(f, "{letter}") }
        })
    }
}

/// One change.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Change {
    /// Where.
    pub path: AnyPath,
    /// What would be different: `added`, or `content`, `mode 0644 -> 0600` and so on.
    pub what: Vec<String>,
    /// The lines that differ, of a small text file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Difference {
    /// The members that take the place of one that is not wanted: its content under the first name that is, and further names of that.
    pub(super) fn stand_ins(&self, member: &Member) -> Vec<Member> {
        let Some([own, further @ ..]) = self.alone.get(&member.path).map(Vec::as_slice) else { return Vec::new() };
        let link = |name: &Vec<u8>| Member { path: name.clone(), kind: Kind::HardLink(own.clone()), ..member.clone() };
        std::iter::once(Member { path: own.clone(), ..member.clone() }).chain(further.iter().map(link)).collect()
    }

    /// Takes note of a further name of a file whose first name is not wanted.
    pub(super) fn alone(&mut self, first: &[u8], name: Vec<u8>) {
        self.alone.entry(first.to_owned()).or_default().push(name);
    }

    /// Takes note of a member that is not there.
    pub(super) fn add(&mut self, mark: PathMark, path: PathBuf) {
        self.added += 1;
        self.note(mark, Seen::NOTHING, Change { path: AnyPath(path), what: vec!["added".to_owned()], text: None });
    }

    /// Takes note of a member that differs from what was found in its place.
    pub(super) fn change(&mut self, mark: PathMark, found: Seen, change: Change) {
        self.changed += 1;
        self.note(mark, found, change);
    }

    fn note(&mut self, mark: PathMark, found: Seen, change: Change) {
        self.write.insert(mark, found);
        if self.changes.len() < NAMED_MAX {
            self.changes.push(change);
        }
    }

    /// Whether the text of one more change is wanted.
    pub(super) fn has_room(&self) -> bool {
        self.changes.len() < NAMED_MAX
    }

    /// What is removed because the backup does not have it: what lies in directories that become something else, and the rest.
    pub(super) fn removed(&self) -> (Vec<&AnyPath>, Vec<&AnyPath>) {
        let extra: &[AnyPath] = if self.delete_extra { &self.extra } else { &[] };
        extra.iter().partition(|AnyPath(path)| self.replaced.iter().any(|directory| path.starts_with(directory)))
    }

    /// Whether anything is removed because the backup does not have it.
    pub(super) fn removes(&self) -> bool {
        self.delete_extra && !self.extra.is_empty()
    }

    /// Whether anything that is there would be another afterwards, or gone.
    pub(super) fn touches_what_is_there(&self) -> bool {
        self.changed > 0 || self.removes()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            let sign = if change.what == ["added"] { '+' } else { '~' };
            let what = if sign == '+' { String::new() } else { format!(" ({})", change.what.join(", ")) };
            writeln!(f, "{sign} {}{what}", change.path)?;
            for line in change.text.iter().flat_map(|text| text.lines()) {
                writeln!(f, "    {line}")?;
            }
        }
        let named = self.changes.len() as u64;
        if self.added + self.changed > named {
            writeln!(f, "  and {} more", self.added + self.changed - named)?;
        }
        for path in &self.extra {
            let fate = match (self.delete_extra, self.is_recorded) {
                (true, _) => "not in the backup: will be removed",
                (false, true) => "not in the backup: stays; --delete-extra removes it",
                (false, false) => "not in the backup: stays; the backup does not record whether it was left out",
            };
            writeln!(f, "- {path} ({fate})")?;
        }
        for path in &self.occupied {
            writeln!(f, "- {path} (not in the backup: stays in any case; it holds something that backups leave out)")?;
        }
        for path in &self.filled {
            writeln!(f, "- {path} (cannot be replaced: it is a directory that is not empty, and what is in it stays)")?;
        }
        for path in &self.drafts {
            writeln!(f, "- {path} (left by a restore that was killed: will be removed)")?;
        }
        for path in &self.beyond {
            writeln!(f, "- {path} (no path of the resource when the backup was taken: what the backup has nothing of stays)")?;
        }
        if self.delete_extra && !self.left_out_then.is_empty() {
            writeln!(f, "- {} was left out when the backup was taken: what there is of it stays", self.left_out_then.join(", "))?;
        }
        let Self { added, changed, unchanged, .. } = self;
        let extra = self.extra.len() + self.occupied.len();
        write!(f, "{added} to add, {changed} to change, {unchanged} as they were, {extra} not in the backup")?;
        if !self.owners {
            write!(f, "\nowners are neither compared nor restored: only root can give files away")?;
        }
        Ok(())
    }
}
