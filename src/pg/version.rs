//! The one table of what differs between PostgreSQL's major versions.
//!
//! Sources: `XLOG_PAGE_MAGIC` and the flags in `access/xlog_internal.h`, `PG_CONTROL_VERSION` in `catalog/pg_control.h`,
//! `CATALOG_VERSION_NO` in `catalog/catversion.h`, `xl_xact_stats_item` in `access/xact.h`, each on the release's branch.

use std::fmt;
use std::ops::RangeInclusive;

use super::control::Layout;

/// The major versions that Holdfast backs up and restores.
pub const SUPPORTED: RangeInclusive<u32> = 15..=19;

/// How the options of the `BASE_BACKUP` command are written. Neither form is understood where the other is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseBackupSyntax {
    /// `BASE_BACKUP LABEL 'x' FAST NOWAIT`, up to 14.
    Words,
    /// `BASE_BACKUP (LABEL 'x', CHECKPOINT 'fast', WAIT false)`, since 15.
    Parenthesised,
}

/// What is peculiar to one major version.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// The major version: 17.
    pub major: u32,
    /// The magic number that every WAL page begins with.
    pub page_magic: u16,
    /// The number of the control file's format.
    pub control_version: u32,
    /// The number of the system catalog's format, which names tablespace directories: `PG_17_202406281`.
    pub catalog_version: u32,
    /// How `BASE_BACKUP` is written.
    pub base_backup: BaseBackupSyntax,
    /// The version of the backup manifest that this server writes; 2 also holds the system identifier.
    pub manifest_version: u32,
    /// Whether `BASE_BACKUP (INCREMENTAL)` and `UPLOAD_MANIFEST` exist.
    pub incremental: bool,
    /// The page flag (`xlp_info`) that says that the page's first record replaces one whose continuation never came.
    pub overwrite_flag: u16,
    /// The size in bytes of a dropped statistics item in a commit record.
    pub dropped_stats_bytes: usize,
    /// Where the fields of the control file lie.
    pub control_layout: Layout,
}

const fn version(major: u32, page_magic: u16, control_version: u32, catalog_version: u32) -> Version {
    Version {
        major,
        page_magic,
        control_version,
        catalog_version,
        base_backup: if major >= 15 { BaseBackupSyntax::Parenthesised } else { BaseBackupSyntax::Words },
        manifest_version: if major >= 17 { 2 } else { 1 },
        incremental: major >= 17,
        overwrite_flag: if major >= 19 { 0x0004 } else { 0x0008 },
        dropped_stats_bytes: if major >= 18 { 16 } else { 12 },
        control_layout: match major {
            19.. => Layout::V19,
            18 => Layout::V18,
            _ => Layout::V13,
        },
    }
}

/// Every version whose formats are known, whether supported or not, so that an error can name what it found.
pub static KNOWN: [Version; 7] = [
    version(13, 0xD106, 1300, 202_007_201),
    version(14, 0xD10D, 1300, 202_107_181),
    version(15, 0xD110, 1300, 202_209_061),
    version(16, 0xD113, 1300, 202_307_071),
    version(17, 0xD116, 1700, 202_406_281),
    version(18, 0xD118, 1800, 202_506_291),
    version(19, 0xD121, 1902, 202_605_131),
];

/// A server, or something that a server wrote, of a version that Holdfast does not handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not supported; Holdfast supports PostgreSQL {}", Supported)]
pub struct UnsupportedVersion {
    /// What was found: `PostgreSQL 14`, or a number that no known version uses.
    pub found: String,
}

/// Prints `15, 16, 17, 18 and 19`.
struct Supported;

impl fmt::Display for Supported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (*SUPPORTED.start(), *SUPPORTED.end());
        for major in SUPPORTED {
            let separator = if major == first { "" } else { [", ", " and "][usize::from(major == last)] };
            write!(f, "{separator}{major}")?;
        }
        Ok(())
    }
}

fn supported(found: Option<&'static Version>, unknown: impl FnOnce() -> String) -> Result<&'static Version, UnsupportedVersion> {
    match found {
        Some(version) if SUPPORTED.contains(&version.major) => Ok(version),
        Some(version) => Err(UnsupportedVersion { found: version.to_string() }),
        None => Err(UnsupportedVersion { found: unknown() }),
    }
}

impl Version {
    /// The version of a server that says `server_version_num` (170002).
    ///
    /// # Errors
    /// The version is not among the supported ones.
    pub fn of_server(server_version_num: u32) -> Result<&'static Self, UnsupportedVersion> {
        // Before 10 the second number was part of the major version: 90603 is 9.6.3.
        let name = |major| match major {
            0..10 => format!("PostgreSQL {major}.{}", server_version_num / 100 % 100),
            _ => format!("PostgreSQL {major}"),
        };
        let major = server_version_num / 10000;
        supported(KNOWN.iter().find(|version| version.major == major), || name(major))
    }

    /// The version of major number `major` (17).
    ///
    /// # Errors
    /// The version is not among the supported ones.
    pub fn of_major(major: u32) -> Result<&'static Self, UnsupportedVersion> {
        Self::of_server(major.saturating_mul(10000))
    }

    /// The version whose WAL pages begin with `magic`.
    ///
    /// # Errors
    /// The version is not among the supported ones.
    pub fn of_page_magic(magic: u16) -> Result<&'static Self, UnsupportedVersion> {
        let found = KNOWN.iter().find(|version| version.page_magic == magic);
        supported(found, || format!("WAL with the page magic {magic:04X}"))
    }

    /// The version whose control file has these two numbers.
    ///
    /// # Errors
    /// The version is not among the supported ones.
    pub fn of_control_file(control_version: u32, catalog_version: u32) -> Result<&'static Self, UnsupportedVersion> {
        let same = |version: &&Self| version.control_version == control_version && version.catalog_version == catalog_version;
        let unknown = || format!("a control file of format {control_version} and catalog version {catalog_version}");
        supported(KNOWN.iter().find(same), unknown)
    }

    /// The name of the directory that the server makes in a tablespace's location: `PG_17_202406281`.
    #[must_use]
    pub fn tablespace_directory(&self) -> String {
        format!("PG_{}_{}", self.major, self.catalog_version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {}", self.major)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_with_the_list_of_supported_versions() {
        for (number, name) in [(140_012, "PostgreSQL 14"), (90_603, "PostgreSQL 9.6"), (200_000, "PostgreSQL 20")] {
            let error = Version::of_server(number).expect_err(name);
            let expected = format!("{name} is not supported; Holdfast supports PostgreSQL 15, 16, 17, 18 and 19");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn every_supported_version_is_found_by_each_of_its_marks() {
        for major in SUPPORTED {
            let version = Version::of_major(major).unwrap();
            assert_eq!(Version::of_server(major * 10000 + 3), Ok(version));
            assert_eq!(Version::of_page_magic(version.page_magic), Ok(version));
            assert_eq!(Version::of_control_file(version.control_version, version.catalog_version), Ok(version));
        }
    }

    #[test]
    fn wal_of_an_old_or_an_unknown_version_is_named() {
        assert!(Version::of_page_magic(0xD10D).unwrap_err().to_string().starts_with("PostgreSQL 14 is not supported"));
        assert!(Version::of_page_magic(0x1234).unwrap_err().to_string().starts_with("WAL with the page magic 1234"));
    }

    #[test]
    fn a_tablespace_directory_is_named_as_the_server_names_it() {
        assert_eq!(Version::of_major(17).unwrap().tablespace_directory(), "PG_17_202406281");
    }
}
