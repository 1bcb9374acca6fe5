//! A whole file, checked from its first byte to its last.

use std::collections::BTreeSet;
use std::io::Read;

use super::input::discard;
use super::{Error, Header, Item, Reader, Result, module_name};

/// So many names of modules are kept.
const MODULES_MAX: usize = 32;

/// What a sound file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// How it begins.
    pub header: Header,
    /// What it holds; an error where that cannot be told, because a type of value is not known: it says which.
    pub counts: std::result::Result<Counts, String>,
    /// Whether it has a checksum, which is right.
    pub checksum: bool,
    /// The version of the server that wrote it, as it says itself.
    pub server_version: Option<String>,
    /// The same, where that is Valkey.
    pub valkey_version: Option<String>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// How many keys.
    pub keys: u64,
    /// How many of them expire.
    pub with_expiry: u64,
    /// How many databases have keys.
    pub databases: u64,
    /// How many libraries of functions.
    pub libraries: u64,
    /// How many values are of types that modules define.
    pub module_values: u64,
    /// The modules that define them.
    pub modules: BTreeSet<String>,
}

/// Reads a file to its end.
///
/// # Errors
/// When it is cut short, damaged or no RDB file.
pub fn check(source: impl Read) -> Result<Checked> {
    let mut reader = Reader::begin(source)?;
    let header = reader.header;
    let mut checked =
        Checked { header, counts: Ok(Counts::default()), checksum: false, server_version: None, valkey_version: None };
    let mut counts = Counts::default();
    match count(&mut reader, &mut counts, &mut checked) {
        Ok(()) => checked.counts = Ok(counts),
        Err(unknown @ Error::UnknownType { .. }) => {
            checked.checksum = reader.skip_to_end()?;
            checked.counts = Err(unknown.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(checked)
}

fn count<R: Read>(reader: &mut Reader<R>, counts: &mut Counts, checked: &mut Checked) -> Result<()> {
    let mut last = None;
    loop {
        match reader.next_item()? {
            Item::Key(key) => {
                counts.keys += 1;
                counts.with_expiry += u64::from(key.expires_at_ms.is_some());
                counts.databases += u64::from(last != Some(key.database));
                last = Some(key.database);
                if let Some(module) = reader.value(key.kind, &mut discard)? {
                    counts.module_values += 1;
                    if counts.modules.len() < MODULES_MAX {
                        counts.modules.insert(module_name(module));
                    }
                }
            }
            Item::Library => {
                counts.libraries += 1;
                reader.library(&mut discard)?;
            }
            Item::Remark { name, value } => checked.remark(&name, &value),
            Item::End { checksum } => {
                checked.checksum = checksum;
                return Ok(());
            }
        }
    }
}

impl Checked {
    fn remark(&mut self, name: &[u8], value: &[u8]) {
        let text = || Some(String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).take(40).collect());
        match name {
            b"redis-ver" => self.server_version = text(),
            b"valkey-ver" => self.valkey_version = text(),
            _ => {}
        }
    }
}
