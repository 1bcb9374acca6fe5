//! `[dump.NAME]`: logical dumps of one database.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::{Config, Duration, Keep, Objectives, Schedule, Secret, SecretVariables};
use crate::repository::{DumpFormat, ResourceKind, ResourceName};

/// `[dump.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dump {
    /// How to reach the database, which it names: keywords or URI, as libpq reads them.
    pub conninfo: Secret,
    /// The format of `pg_dump`.
    #[serde(default)]
    pub format: DumpFormat,
    /// How many connections dump and restore at once, in the directory format.
    #[serde(default = "one")]
    pub jobs: NonZeroUsize,
    /// Where the directory format lies while it is made and restored, in the clear.
    pub spool: Option<PathBuf>,
    /// Whether roles and tablespaces of the server are stored too.
    #[serde(default = "yes")]
    pub globals: bool,
    /// Whether the rows of each table are counted, in the dump's own snapshot.
    #[serde(default = "yes")]
    pub count_rows: bool,
    /// Tables that are left out.
    #[serde(default)]
    pub exclude_table: Vec<TablePattern>,
    /// Tables whose rows are left out.
    #[serde(default)]
    pub exclude_table_data: Vec<TablePattern>,
    /// The directory of PostgreSQL's programs; by default they are looked for.
    pub programs: Option<PathBuf>,
    /// How long a dump, and a restore of it, may take.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// When it is backed up.
    pub schedule: Option<Schedule>,
    /// Which backups are kept; all of them where it is not given.
    pub keep: Option<Keep>,
    /// What it has to keep to.
    #[serde(default)]
    pub objectives: Objectives,
    /// What no program that is run for it inherits.
    #[serde(skip)]
    pub hidden: SecretVariables,
}

/// Tables by name: `schema.table`, or `table` in any schema; `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern {
    schema: String,
    table: String,
}

impl TablePattern {
    /// The two parts as SQL's `LIKE` reads them.
    #[must_use]
    pub fn like(&self) -> (String, String) {
        let like = |text: &str| {
            let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            escaped.replace('*', "%")
        };
        (like(&self.schema), like(&self.table))
    }
}

impl<'de> Deserialize<'de> for TablePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (schema, table) = text.split_once('.').unwrap_or(("*", &text));
        if schema.is_empty() || table.is_empty() {
            let wrong = format!("'{text}' names no table; write it as in \"audit.*\" or \"public.sessions\"");
            return Err(serde::de::Error::custom(wrong));
        }
        Ok(Self { schema: schema.to_owned(), table: table.to_owned() })
    }
}

const fn yes() -> bool {
    true
}

const fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

const fn default_timeout() -> Duration {
    Duration(std::time::Duration::from_hours(6))
}

impl Config {
    /// The dumped databases with their resource names. Names were checked when the file was read.
    pub fn dumps(&self) -> impl Iterator<Item = (ResourceName, &Dump)> {
        self.dump.iter().filter_map(|(name, section)| Some((ResourceName::new(ResourceKind::Dump, name).ok()?, section)))
    }

    /// A dump that would lie on a disk in the clear without anybody having said where, and keys that have no effect.
    pub(super) fn wrong_dump(&self) -> Option<(ResourceKind, String, String)> {
        let wrong = |section: &Dump| match (section.format, &section.spool) {
            (DumpFormat::Directory, None) => Some(
                "the directory format lies on a disk in the clear while it is made: name a directory for it, spool = \"/...\", \
                 or use format = \"custom\", which never does",
            ),
            (DumpFormat::Custom, _) if section.jobs.get() > 1 => Some("jobs needs format = \"directory\""),
            (_, Some(spool)) if !spool.is_absolute() => Some("spool is not an absolute path"),
            _ => None,
        };
        self.dump.iter().find_map(|(name, section)| Some((ResourceKind::Dump, name.clone(), wrong(section)?.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;

    fn read(more: &str) -> Result<super::Config, String> {
        let text = format!("[repository]\nurl = \"file:///b\"\n[dump.app]\nconninfo = \"dbname=app\"\n{more}\n");
        parse(&text, Path::new("/c")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_dump_that_would_lie_on_a_disk_in_the_clear_needs_a_word() {
        let refused = read("format = \"directory\"").expect_err("no spool");
        assert!(refused.contains(":3: the directory format lies on a disk in the clear"), "{refused}");
        assert!(read("format = \"directory\"\nspool = \"spool\"").is_err_and(|why| why.contains("absolute")));
        assert!(read("jobs = 4").is_err_and(|why| why.contains(":3: jobs needs format")));
        let config = read("format = \"directory\"\nspool = \"/var/spool\"\njobs = 4").expect("a valid configuration");
        let (name, section) = config.dumps().next().expect("a dump");
        assert_eq!((name.to_string().as_str(), section.jobs.get(), section.globals), ("dump/app", 4, true));
    }

    #[test]
    fn patterns_of_tables_are_read_as_like_reads_them() {
        let config = read("exclude_table = [\"audit.*\", \"a_b%\"]").expect("a valid configuration");
        let (_, section) = config.dumps().next().expect("a dump");
        let like: Vec<_> = section.exclude_table.iter().map(super::TablePattern::like).collect();
        assert_eq!(like, [("audit".to_owned(), "%".to_owned()), ("%".to_owned(), "a\\_b\\%".to_owned())]);
        assert!(read("exclude_table = [\".x\"]").is_err_and(|why| why.contains(":5: '.x' names no table")));
    }
}
