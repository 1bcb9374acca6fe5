//! What `DUMP` wraps a value in, and `RESTORE` expects: the value, the version of the format, a checksum.

use crc::{CRC_64_REDIS, Crc, Table};

/// The checksum of Redis.
pub(super) static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// How long what follows a value is.
pub const FOOTER_BYTES: usize = 10;

/// The checksum of bytes.
#[must_use]
pub fn crc(bytes: &[u8]) -> u64 {
    CRC.checksum(bytes)
}

/// Computes what follows a value while its bytes pass.
#[derive(Clone)]
pub struct DumpFooter {
    digest: crc::Digest<'static, u64, Table<16>>,
    bytes: u64,
}

impl Default for DumpFooter {
    fn default() -> Self {
        Self { digest: CRC.digest(), bytes: 0 }
    }
}

impl DumpFooter {
    /// Adds bytes of the value; the first one is its type.
    pub fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The checksum of the bytes.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.digest.clone().finalize()
    }

    /// How many bytes there were.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What follows them.
    #[must_use]
    pub fn finish(mut self, version: u16) -> [u8; FOOTER_BYTES] {
        self.digest.update(&version.to_le_bytes());
        let mut footer = [0; FOOTER_BYTES];
        footer[..2].copy_from_slice(&version.to_le_bytes());
        footer[2..].copy_from_slice(&self.digest.finalize().to_le_bytes());
        footer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(crc(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }
}
