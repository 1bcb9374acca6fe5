//! What a dump holds, as an object beside it: the database, its extensions, the rows of each table.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::repository::{BackupEntry, Detail, DumpBackup, Repository};

/// The newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
/// The object.
pub(super) const INVENTORY: &str = "inventory";

/// What a dump holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inventory {
    pub format: u32,
    /// The database that was dumped.
    pub database: Facts,
    /// The extensions that it has, which the server of a restore must offer.
    pub extensions: Vec<String>,
    /// The tables whose rows were counted; none where they were not to be.
    pub tables: Option<Vec<Table>>,
}

/// What a new database has to be made with; named as in `pg_database`, and absent where the server has no such column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub name: String,
    pub owner: String,
    pub encoding: String,
    pub datcollate: String,
    pub datctype: String,
    /// `c`, `i` or `b`.
    pub datlocprovider: Option<String>,
    /// Before version 17.
    pub daticulocale: Option<String>,
    /// Since version 17.
    pub datlocale: Option<String>,
    pub daticurules: Option<String>,
    /// `ALTER DATABASE ... SET` for all roles: name and value.
    pub settings: Vec<(String, String)>,
    /// `ALTER ROLE ... IN DATABASE ... SET`: role, name and value.
    #[serde(default)]
    pub role_settings: Vec<(String, String, String)>,
    /// `GRANT ... ON DATABASE`; none where nothing was ever granted or revoked, and what PostgreSQL gives a new database holds.
    #[serde(default)]
    pub privileges: Option<Vec<Privilege>>,
    /// `COMMENT ON DATABASE`.
    #[serde(default)]
    pub comment: Option<String>,
    /// `ALTER DATABASE ... CONNECTION LIMIT`; negative where there is none.
    #[serde(default = "no_limit")]
    pub datconnlimit: i32,
}

const fn no_limit() -> i32 {
    -1
}

/// A privilege on the database, as `aclexplode` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Privilege {
    /// The role; none for everybody (`PUBLIC`).
    pub grantee: Option<String>,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// Whether the role may grant it in turn.
    pub grantable: bool,
}

/// A table and its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub schema: String,
    pub name: String,
    pub rows: u64,
}

impl Inventory {
    pub(super) const fn new(database: Facts, extensions: Vec<String>, tables: Option<Vec<Table>>) -> Self {
        Self { format: FORMAT, database, extensions, tables }
    }

    pub(super) fn to_json(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("an inventory has string keys and no failing serializer"))
    }

    /// Reads that of a backup.
    pub(super) async fn read(repository: &Repository, backup: &BackupEntry) -> Result<Self> {
        let (name, backups) = (&detail(repository, backup)?.inventory, repository.backups(&backup.resource));
        let json = backups.get_small(&backup.id, name).await?;
        let wrong = |detail: String| Error::Content { object: backups.key(&backup.id, name), detail };
        let read: Self = serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        if read.format > FORMAT {
            let newer = format!("it has format {}; this version of Holdfast reads up to {FORMAT}", read.format);
            return Err(wrong(newer));
        }
        Ok(read)
    }
}

/// What the catalog says of a dump.
pub(super) fn detail<'a>(repository: &Repository, backup: &'a BackupEntry) -> Result<&'a DumpBackup> {
    match &backup.detail {
        Detail::Dump(detail) => Ok(detail),
        other => Err(Error::Content {
            object: repository.backups(&backup.resource).key(&backup.id, ""),
            detail: format!("it is a {} backup", other.kind().as_str()),
        }),
    }
}

/// The first differences between the rows that were dumped and those that were restored.
pub(super) fn differences(dumped: &[Table], restored: &[Option<u64>]) -> Vec<String> {
    const SHOWN_MAX: usize = 10;
    let differ = |(table, found): (&Table, &Option<u64>)| {
        let Table { schema, name, rows } = table;
        match found {
            Some(found) if found == rows => None,
            Some(found) => Some(format!("{schema}.{name} has {found} rows instead of {rows}")),
            None => Some(format!("{schema}.{name} is not there")),
        }
    };
    let mut all: Vec<String> = dumped.iter().zip(restored).filter_map(differ).collect();
    if all.len() > SHOWN_MAX {
        let more = all.split_off(SHOWN_MAX).len();
        all.push(format!("and {more} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_differ_and_tables_that_are_gone_are_named() {
        let table = |name: &str, rows| Table { schema: "s".to_owned(), name: name.to_owned(), rows };
        let dumped = [table("a", 1), table("b", 2), table("c", 3)];
        assert_eq!(differences(&dumped, &[Some(1), Some(2), Some(3)]), Vec::<String>::new());
        let found = differences(&dumped, &[Some(1), Some(0), None]);
        assert_eq!(found, ["s.b has 0 rows instead of 2", "s.c is not there"]);
    }
}
