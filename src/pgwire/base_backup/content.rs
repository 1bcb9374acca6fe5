//! The content of the copy messages of a base backup.

use bytes::{Buf, Bytes};

use super::{BackupEvent, archive};

/// How the bytes of a copy are to be understood.
#[derive(Debug)]
pub(super) struct Content {
    typed: bool,
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    None,
    Archive,
    Manifest,
}

impl Content {
    /// From PostgreSQL 15 on: the first byte of each message is its type.
    pub(super) const fn typed() -> Self {
        Self { typed: true, part: Part::None }
    }

    /// Before: archive bytes and nothing else, until `begin_manifest`.
    pub(super) const fn untyped() -> Self {
        Self { typed: false, part: Part::Archive }
    }

    pub(super) const fn is_typed(&self) -> bool {
        self.typed
    }

    pub(super) fn in_manifest(&self) -> bool {
        self.part == Part::Manifest
    }

    /// The manifest is one, and the last.
    pub(super) fn begin_manifest(&mut self) -> Result<BackupEvent, String> {
        if self.in_manifest() {
            return Err("something after the manifest".into());
        }
        self.part = Part::Manifest;
        Ok(BackupEvent::ManifestBegin)
    }

    /// Reads one copy message; an empty one is no event.
    pub(super) fn take(&mut self, mut bytes: Bytes) -> Result<Option<BackupEvent>, String> {
        if !self.typed {
            return self.data(bytes);
        }
        let Ok(kind) = bytes.try_get_u8() else {
            return Ok(None);
        };
        match kind {
            b'n' => self.begin_archive(&bytes).map(Some),
            b'd' => self.data(bytes),
            b'p' => bytes.try_get_u64().map(|sent| Some(BackupEvent::Progress(sent))).map_err(|e| e.to_string()),
            b'm' => self.begin_manifest().map(Some),
            other => Err(format!("an unknown kind '{}' of base backup data", char::from(other).escape_default())),
        }
    }

    fn data(&self, bytes: Bytes) -> Result<Option<BackupEvent>, String> {
        match self.part {
            _ if bytes.is_empty() => Ok(None),
            Part::Archive => Ok(Some(BackupEvent::Data(bytes))),
            Part::Manifest => Ok(Some(BackupEvent::ManifestData(bytes))),
            Part::None => Err("data before the first archive".into()),
        }
    }

    /// The name of the archive, and the path of its tablespace, each with a zero at its end.
    fn begin_archive(&mut self, bytes: &[u8]) -> Result<BackupEvent, String> {
        let name = bytes.split(|b| *b == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        let tablespace = match name.strip_suffix(".tar") {
            Some("base") => None,
            Some(oid) => Some(oid.parse().map_err(|_| unknown_archive(&name))?),
            None => return Err(unknown_archive(&name)),
        };
        if self.in_manifest() {
            return Err("an archive after the manifest".into());
        }
        self.part = Part::Archive;
        Ok(archive(tablespace))
    }
}

fn unknown_archive(name: &str) -> String {
    format!("an archive '{}', which is neither base.tar nor a tablespace's", name.escape_default())
}
