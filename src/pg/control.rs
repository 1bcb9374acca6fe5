//! The control file, `global/pg_control`: which cluster this is, and the settings that a restored server must not fall below.
//!
//! Sources: `ControlFileData` and `CheckPoint` in PostgreSQL's `catalog/pg_control.h`, with the padding that a 64-bit
//! little-endian machine gives them.

use jiff::Timestamp;

use super::bytes::{i64_at, u32_at, u64_at};
use super::version::{UnsupportedVersion, Version};
use super::{Lsn, SegmentSize, SegmentSizeError, SystemId, TimelineId};

/// `PG_CONTROL_FILE_SIZE`: the file's length; what is used of it is shorter.
pub const FILE_BYTES: usize = 8192;

/// Where the fields lie that do not stand at the same place in all versions. Offsets in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// `checkPointCopy.time`.
    checkpoint_time: usize,
    /// `minRecoveryPoint`, from which the fields up to `relseg_size` follow without a difference.
    min_recovery_point: usize,
    /// `xlog_seg_size`.
    segment_size: usize,
    /// `data_checksum_version`.
    checksum_version: usize,
    /// `crc`, the last field: it covers everything before it.
    crc: usize,
}

impl Layout {
    /// 13 to 17.
    pub const V13: Self =
        Self { checkpoint_time: 104, min_recovery_point: 136, segment_size: 228, checksum_version: 252, crc: 288 };
    /// 18: `default_char_signedness` is new, and shifts only what is behind the data checksums.
    pub const V18: Self = Self { crc: 292, ..Self::V13 };
    /// 19: a longer checkpoint (`logicalDecodingEnabled`, 64-bit `nextMultiOffset`, `dataChecksumState`), then
    /// `slru_pages_per_segment` and `data_checksum_version_init`.
    pub const V19: Self =
        Self { checkpoint_time: 112, min_recovery_point: 144, segment_size: 240, checksum_version: 268, crc: 308 };
}

/// `DBState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// Starting up.
    StartUp,
    /// Shut down cleanly.
    ShutDown,
    /// Shut down as a standby.
    ShutDownInRecovery,
    /// Shutting down.
    ShuttingDown,
    /// In recovery after a crash.
    InCrashRecovery,
    /// In recovery from an archive, or a standby.
    InArchiveRecovery,
    /// Running, or it was not shut down.
    InProduction,
}

impl ClusterState {
    const fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::StartUp,
            1 => Self::ShutDown,
            2 => Self::ShutDownInRecovery,
            3 => Self::ShuttingDown,
            4 => Self::InCrashRecovery,
            5 => Self::InArchiveRecovery,
            6 => Self::InProduction,
            _ => return None,
        })
    }
}

/// A hot standby, and recovery itself, needs each of these at least as high as the primary had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbySettings {
    /// `max_connections`
    pub max_connections: u32,
    /// `max_worker_processes`
    pub max_worker_processes: u32,
    /// `max_wal_senders`
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`
    pub max_locks_per_transaction: u32,
}

impl StandbySettings {
    /// The settings by PostgreSQL's names.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u32); 5] {
        [
            ("max_connections", self.max_connections),
            ("max_worker_processes", self.max_worker_processes),
            ("max_wal_senders", self.max_wal_senders),
            ("max_prepared_transactions", self.max_prepared_transactions),
            ("max_locks_per_transaction", self.max_locks_per_transaction),
        ]
    }
}

/// What the control file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlFile {
    /// The cluster.
    pub system_id: SystemId,
    /// The version of its server.
    pub version: &'static Version,
    /// What it was doing.
    pub state: ClusterState,
    /// When the file was last written.
    pub time: Timestamp,
    /// Where the record of the latest checkpoint begins.
    pub checkpoint: Lsn,
    /// Where replay from that checkpoint begins.
    pub redo: Lsn,
    /// The timeline of that checkpoint.
    pub timeline: TimelineId,
    /// The timeline before it, if the checkpoint began one; otherwise the same.
    pub previous_timeline: TimelineId,
    /// When that checkpoint was made.
    pub checkpoint_time: Timestamp,
    /// The data directory is not consistent before replay reaches this; invalid outside of recovery.
    pub min_recovery_point: Lsn,
    /// `wal_segment_size`.
    pub segment_size: SegmentSize,
    /// Whether data pages carry checksums.
    pub data_checksums: bool,
    /// What a restored server must not fall below.
    pub settings: StandbySettings,
}

/// Bytes that are not a control file, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlFileError {
    /// Too short.
    #[error("the control file has only {found} bytes")]
    Truncated {
        /// The bytes there are.
        found: usize,
    },
    /// Of a server that Holdfast does not handle, or not a control file.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
    /// The file was damaged, or read while the server wrote it.
    #[error("the control file's CRC is {found:08X} instead of {expected:08X}")]
    Checksum {
        /// What the file says.
        expected: u32,
        /// What its content gives.
        found: u32,
    },
    /// A field with a value that it cannot have.
    #[error("the control file says {field} {value}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// A segment size that cannot be.
    #[error("the control file says: {0}")]
    SegmentSize(#[from] SegmentSizeError),
}

impl ControlFile {
    /// Reads a control file and checks its CRC.
    ///
    /// # Errors
    /// See `ControlFileError`. `Checksum` can mean that the file was read while the server wrote it: read it again.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlFileError> {
        let truncated = ControlFileError::Truncated { found: bytes.len() };
        let (Some(format), Some(catalog)) = (u32_at(bytes, 8), u32_at(bytes, 12)) else { return Err(truncated) };
        let version = Version::of_control_file(format, catalog)?;
        check_crc(bytes, version.control_layout.crc)?;
        Fields { bytes, layout: version.control_layout }.read(version).ok_or(truncated)?
    }
}

fn check_crc(bytes: &[u8], at: usize) -> Result<(), ControlFileError> {
    let truncated = ControlFileError::Truncated { found: bytes.len() };
    let (Some(covered), Some(expected)) = (bytes.get(..at), u32_at(bytes, at)) else { return Err(truncated) };
    let found = crc32c::crc32c(covered);
    if found == expected { Ok(()) } else { Err(ControlFileError::Checksum { expected, found }) }
}

/// The fields of a file that is long enough, which its CRC has shown.
struct Fields<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

impl Fields<'_> {
    fn lsn(&self, at: usize) -> Option<Lsn> {
        u64_at(self.bytes, at).map(Lsn)
    }

    fn timeline(&self, at: usize) -> Option<TimelineId> {
        u32_at(self.bytes, at).map(TimelineId)
    }

    /// A `pg_time_t`: seconds of the Unix epoch.
    fn time(&self, at: usize) -> Option<Timestamp> {
        i64_at(self.bytes, at).map(|seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN))
    }

    fn settings(&self) -> Option<StandbySettings> {
        // Behind minRecoveryPoint: its timeline, two more positions, two flags, wal_level, wal_log_hints.
        let setting = |number: usize| u32_at(self.bytes, self.layout.min_recovery_point + 44 + 4 * number);
        Some(StandbySettings {
            max_connections: setting(0)?,
            max_worker_processes: setting(1)?,
            max_wal_senders: setting(2)?,
            max_prepared_transactions: setting(3)?,
            max_locks_per_transaction: setting(4)?,
        })
    }

    /// `None` if the bytes are too few.
    fn read(&self, version: &'static Version) -> Option<Result<ControlFile, ControlFileError>> {
        let state = u32_at(self.bytes, 16)?;
        let Some(known_state) = ClusterState::of(state) else {
            return Some(Err(ControlFileError::Field { field: "state", value: state }));
        };
        let segment_size = match SegmentSize::try_from(u64::from(u32_at(self.bytes, self.layout.segment_size)?)) {
            Ok(size) => size,
            Err(error) => return Some(Err(error.into())),
        };
        Some(Ok(ControlFile {
            system_id: SystemId(u64_at(self.bytes, 0)?),
            version,
            state: known_state,
            time: self.time(24)?,
            checkpoint: self.lsn(32)?,
            redo: self.lsn(40)?,
            timeline: self.timeline(48)?,
            previous_timeline: self.timeline(52)?,
            checkpoint_time: self.time(self.layout.checkpoint_time)?,
            min_recovery_point: self.lsn(self.layout.min_recovery_point)?,
            segment_size,
            data_checksums: u32_at(self.bytes, self.layout.checksum_version)? != 0,
            settings: self.settings()?,
        }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The file of cluster 42, whose last checkpoint begins at `redo`.
    pub(crate) fn file_with_redo(redo: Lsn) -> Vec<u8> {
        let version = Version::of_major(17).unwrap();
        let mut bytes = file(version);
        bytes[40..48].copy_from_slice(&redo.0.to_le_bytes());
        sign(&mut bytes, version);
        bytes
    }

    /// A file of the given format in which every field but the marks is zero, with a valid CRC.
    fn file(version: &Version) -> Vec<u8> {
        let mut bytes = vec![0; FILE_BYTES];
        bytes[..8].copy_from_slice(&42_u64.to_le_bytes());
        bytes[8..12].copy_from_slice(&version.control_version.to_le_bytes());
        bytes[12..16].copy_from_slice(&version.catalog_version.to_le_bytes());
        let at = version.control_layout.segment_size;
        bytes[at..at + 4].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        sign(&mut bytes, version);
        bytes
    }

    fn sign(bytes: &mut [u8], version: &Version) {
        let at = version.control_layout.crc;
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn every_supported_version_is_read() {
        for major in crate::pg::SUPPORTED {
            let version = Version::of_major(major).unwrap();
            let control = ControlFile::parse(&file(version)).unwrap();
            assert_eq!((control.system_id, control.version.major), (SystemId(42), major));
            assert_eq!(control.segment_size, SegmentSize::DEFAULT);
        }
    }

    #[test]
    fn a_changed_byte_is_detected() {
        for major in crate::pg::SUPPORTED {
            let version = Version::of_major(major).unwrap();
            for at in 0..version.control_layout.crc + 4 {
                let mut bytes = file(version);
                bytes[at] ^= 4;
                assert!(ControlFile::parse(&bytes).is_err(), "PostgreSQL {major}, byte {at}");
            }
        }
    }

    #[test]
    fn an_old_control_file_is_named() {
        let error = ControlFile::parse(&file(&crate::pg::version::KNOWN[0])).unwrap_err();
        assert!(error.to_string().starts_with("PostgreSQL 13 is not supported"));
    }

    proptest! {
        #[test]
        fn arbitrary_content_never_panics(content in prop::collection::vec(any::<u8>(), 0..400), length in 0_usize..400) {
            let version = Version::of_major(17).unwrap();
            let mut bytes = file(version);
            bytes[16..16 + content.len()].copy_from_slice(&content);
            sign(&mut bytes, version);
            let damaged = matches!(ControlFile::parse(&bytes), Err(ControlFileError::Checksum { .. }));
            prop_assert!(!damaged);
            bytes.truncate(length);
            prop_assert!(length >= 292 || ControlFile::parse(&bytes).is_err());
        }
    }
}
