//! What a file holds, as far as a restore by `RESTORE` has to know before it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::{Error, Result, unnamed};
use crate::resources::redis::rdb::{self, DumpFooter, FOOTER_BYTES, Item, Reader, module_name};
use crate::sys::clock;

/// Values up to this size are sent from memory, in bytes.
pub(super) const SMALL_BYTES_MAX: u64 = 4 << 20;

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) keys: u64,
    pub(super) expired: u64,
    pub(super) libraries: u64,
    /// The modules whose values are in it.
    modules: BTreeSet<String>,
    /// The values that are too large for memory, by the number of their key: a command has to say how long they are before it has them.
    pub(super) large: BTreeMap<u64, Large>,
}

/// A value that is too large for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Large {
    /// Its size with its type.
    pub(super) bytes: u64,
    pub(super) footer: [u8; FOOTER_BYTES],
}

/// Reads a file to its end.
pub(super) fn survey(source: impl Read) -> rdb::Result<Survey> {
    let mut reader = Reader::begin(source)?;
    let (version, now_ms) = (reader.header.version, now_ms());
    let mut survey = Survey::default();
    loop {
        match reader.next_item()? {
            Item::Key(key) => {
                if key.name.is_none() {
                    return Err(unnamed(reader.position()));
                }
                let mut footer = DumpFooter::default();
                footer.add(&[key.kind]);
                let module = reader.value(key.kind, &mut |bytes| {
                    footer.add(bytes);
                    Ok(())
                })?;
                survey.modules.extend(module.map(module_name));
                if footer.bytes() > SMALL_BYTES_MAX {
                    survey.large.insert(survey.keys, Large { bytes: footer.bytes(), footer: footer.finish(version) });
                }
                survey.keys += 1;
                survey.expired += u64::from(key.expires_at_ms.is_some_and(|at| at <= now_ms));
            }
            Item::Library => {
                survey.libraries += 1;
                reader.library(&mut |_| Ok(()))?;
            }
            Item::Remark { .. } => {}
            Item::End { .. } => return Ok(survey),
        }
    }
}

/// The time in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    u64::try_from(clock::now().as_millisecond()).unwrap_or(0)
}

impl Survey {
    /// Refuses what cannot be restored so.
    pub(super) fn refuse(&self) -> Result<()> {
        if self.modules.is_empty() {
            return Ok(());
        }
        let modules: Vec<&str> = self.modules.iter().map(String::as_str).collect();
        let why = format!(
            "the backup has values of modules ({}), which RESTORE takes only where the same module is loaded",
            modules.join(", ")
        );
        Err(Error::NotRestored(why, "restore the file with --to, for a server that has these modules"))
    }
}
