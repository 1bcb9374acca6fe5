//! The oracle of every restore: what was in the tables, row by row.

use std::collections::BTreeMap;
use std::fmt;

use crate::container::Container;
use crate::postgres::Cluster;

const ATTEMPTS: usize = 10;

/// A server whose database `postgres` can be asked.
pub trait Database {
    /// Runs statements and returns their rows: columns separated by `|`, rows by line ends.
    ///
    /// # Errors
    /// What psql says.
    fn try_statements(&self, statements: &str) -> Result<String, String>;
}

impl Database for Cluster {
    fn try_statements(&self, statements: &str) -> Result<String, String> {
        self.try_sql("postgres", statements)
    }
}

impl Database for Container {
    fn try_statements(&self, statements: &str) -> Result<String, String> {
        self.try_sql(statements)
    }
}

/// A database of a cluster other than `postgres`.
struct Other<'a>(&'a Cluster, &'a str);

impl Database for Other<'_> {
    fn try_statements(&self, statements: &str) -> Result<String, String> {
        self.0.try_sql(self.1, statements)
    }
}

/// What a table holds: two tables are the same if and only if (but for a chance of one in 2^60 or so) these are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// The number of rows.
    pub rows: u64,
    /// The sum of the hashes of all rows, which does not depend on their order.
    pub hash: String,
}

/// The content of every user table of a database, by `schema.table`.
#[derive(Clone, PartialEq, Eq)]
pub struct Checksums(pub BTreeMap<String, Content>);

/// A marked moment in the life of a cluster that is being written to.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The name of the restore point.
    pub name: String,
    /// The end of the restore point's record, as `X/X`: everything in the tables was committed before it.
    pub lsn: String,
    /// A time, in UTC with offset, after every commit that is in and before every commit that is not.
    pub time: String,
    /// What the tables held.
    pub checksums: Checksums,
}

impl Checksums {
    /// Of the database `postgres`, in one snapshot.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn of(database: &impl Database) -> Self {
        match checksum_query(&tables(database)) {
            Some(query) => Self::parse(&ask(database, &query)),
            None => Self(BTreeMap::new()),
        }
    }

    /// Of a database, in one snapshot.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn of_database(cluster: &Cluster, database: &str) -> Self {
        Self::of(&Other(cluster, database))
    }

    fn parse(rows: &str) -> Self {
        let content = |line: &str| {
            let mut fields = line.rsplitn(3, '|');
            let hash = fields.next()?.to_owned();
            let rows = fields.next()?.parse().ok()?;
            Some((fields.next()?.to_owned(), Content { rows, hash }))
        };
        Self(rows.lines().map(|line| content(line).unwrap_or_else(|| panic!("not a checksum: {line}"))).collect())
    }

    /// How many rows all tables have together.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.0.values().map(|content| content.rows).sum()
    }
}

impl fmt::Debug for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, content) in &self.0 {
            writeln!(f, "{table}: {} rows, {}", content.rows, content.hash)?;
        }
        Ok(())
    }
}

impl Moment {
    /// Marks a moment of the database `postgres` while others write to it: for a moment all tables are locked against writing, their
    /// checksums taken, and a restore point written.
    ///
    /// # Panics
    /// When the server does not answer, or the writers deadlock with the lock again and again.
    #[must_use]
    pub fn mark(database: &impl Database, name: &str) -> Self {
        let tables = tables(database);
        let script = mark_script(&tables, name);
        for _ in 0..ATTEMPTS {
            match database.try_statements(&script) {
                Ok(rows) => return Self::parse(name, &rows),
                Err(error) if error.contains("deadlock detected") => {}
                Err(error) => panic!("marking {name}: {error}"),
            }
        }
        panic!("marking {name} deadlocked {ATTEMPTS} times");
    }

    fn parse(name: &str, rows: &str) -> Self {
        let (head, checksums) = rows.split_once('\n').unwrap_or((rows, ""));
        let (lsn, time) = head.split_once('|').unwrap_or_else(|| panic!("not a moment: {head}"));
        let checksums = Checksums::parse(checksums);
        Self { name: name.to_owned(), lsn: lsn.to_owned(), time: time.to_owned(), checksums }
    }
}

fn mark_script(tables: &[String], name: &str) -> String {
    let lock = if tables.is_empty() { String::new() } else { format!("LOCK TABLE {} IN EXCLUSIVE MODE;\n", tables.join(", ")) };
    let time = "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'";
    let checksums = checksum_query(tables).unwrap_or_default();
    // Waits a little on both sides of the time, so that commits differ from it even where the clock is coarse.
    format!(
        "BEGIN;\n{lock}SELECT pg_create_restore_point('{name}') || '|' || {time} FROM (SELECT pg_sleep(0.01)) AS pause;\n\
         {checksums};\nSELECT FROM pg_sleep(0.01);\nCOMMIT;\n"
    )
}

/// The user tables of a database, quoted where needed, in the order of their names.
fn tables(database: &impl Database) -> Vec<String> {
    let query = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
                 WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname NOT LIKE 'pg_temp%' ORDER BY 1";
    ask(database, query).lines().map(str::to_owned).collect()
}

fn ask(database: &impl Database, query: &str) -> String {
    database.try_statements(query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// One statement, hence one snapshot, over all tables.
fn checksum_query(tables: &[String]) -> Option<String> {
    let one = |table: &String| {
        let name = table.replace('\'', "''");
        let hash = |seed: u8| format!("coalesce(sum(hashtextextended(t::text, {seed})::numeric), 0)");
        format!("SELECT '{name}', count(*), {} || '/' || {} FROM ONLY {table} AS t", hash(1), hash(2))
    };
    let queries: Vec<String> = tables.iter().map(one).collect();
    (!queries.is_empty()).then(|| queries.join("\nUNION ALL\n"))
}
