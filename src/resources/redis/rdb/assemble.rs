//! A file put together from values as `DUMP` gives them.

use bytes::Bytes;

use super::payload::DumpFooter;

/// What is handed on at once.
const PIECE_BYTES: usize = 512 << 10;
/// The first version of the format that is Valkey's own.
const FIRST_VALKEY_VERSION: u16 = 80;

/// Puts a file together, in the order in which its parts are added.
pub struct Assembler {
    pending: Vec<u8>,
    digest: DumpFooter,
}

impl Assembler {
    /// Begins a file of a version, as its values have it.
    #[must_use]
    pub fn begin(version: u16) -> Self {
        let header = if version < FIRST_VALKEY_VERSION { format!("REDIS{version:04}") } else { format!("VALKEY{version:03}") };
        let mut assembler = Self { pending: Vec::new(), digest: DumpFooter::default() };
        assembler.raw(header.as_bytes());
        assembler
    }

    /// Says something about the file, as servers do.
    pub fn remark(&mut self, name: &str, value: &str) {
        self.raw(&[0xFA]);
        self.string(name.as_bytes());
        self.string(value.as_bytes());
    }

    /// What follows belongs to this database.
    pub fn database(&mut self, number: u64) {
        self.raw(&[0xFE]);
        self.length(number);
    }

    /// Begins a key. What follows the type in its value is added by `raw`.
    pub fn key(&mut self, name: &[u8], kind: u8, expires_at_ms: Option<u64>) {
        if let Some(at) = expires_at_ms {
            self.raw(&[0xFC]);
            self.raw(&at.to_le_bytes());
        }
        self.raw(&[kind]);
        self.string(name);
    }

    /// Adds bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.digest.add(bytes);
        self.pending.extend_from_slice(bytes);
    }

    /// What has been put together and not been taken, once that is worth it.
    pub fn piece(&mut self) -> Option<Bytes> {
        (self.pending.len() >= PIECE_BYTES).then(|| Bytes::from(std::mem::take(&mut self.pending)))
    }

    /// The rest, with the checksum.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.raw(&[super::input::EOF]);
        let checksum = self.digest.checksum();
        self.pending.extend_from_slice(&checksum.to_le_bytes());
        Bytes::from(self.pending)
    }

    fn string(&mut self, bytes: &[u8]) {
        self.length(bytes.len() as u64);
        self.raw(bytes);
    }

    fn length(&mut self, length: u64) {
        match (u8::try_from(length), u32::try_from(length)) {
            (Ok(short @ 0..=63), _) => self.raw(&[short]),
            (_, Ok(long)) => {
                self.raw(&[0x80]);
                self.raw(&long.to_be_bytes());
            }
            _ => {
                self.raw(&[0x81]);
                self.raw(&length.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Item, Reader, check};
    use super::*;

    #[test]
    fn what_is_put_together_reads_back() {
        for (version, valkey) in [(11, false), (80, true)] {
            let mut assembler = Assembler::begin(version);
            assembler.remark("redis-ver", "7.2.0");
            assembler.database(3);
            assembler.key(&[b'k'; 100], 0, Some(1234));
            assembler.raw(b"\x05value");
            let file = assembler.finish();
            let checked = check(&file[..]).expect("a sound file");
            assert!(checked.checksum && checked.header.version == version && checked.header.valkey == valkey);
            let mut reader = Reader::begin(&file[..]).expect("a file");
            assert!(matches!(reader.next_item(), Ok(Item::Remark { .. })));
            let Ok(Item::Key(key)) = reader.next_item() else { panic!("there is a key") };
            assert_eq!((key.database, key.name, key.expires_at_ms), (3, Some(vec![b'k'; 100]), Some(1234)));
        }
    }
}
