//! The snapshot that is dumped: held open while `pg_dump` reads it, so that the rows are counted in the same one.

use super::error::Result;
use super::inventory::{Facts, Inventory, Table};
use super::source::quoted;
use crate::config::{self, TablePattern};
use crate::pgwire::{ConnInfo, SqlConnection};

/// How many tables one statement locks.
const LOCKED_AT_ONCE: usize = 100;

/// A transaction that everything of a dump is read in.
#[derive(Debug)]
pub(super) struct Snapshot {
    sql: SqlConnection,
    /// What `pg_dump --snapshot` is told.
    pub id: String,
    pub server_version: u32,
    /// Whether the role may read the hashes of passwords.
    pub reads_passwords: bool,
    pub plain_bytes: u64,
    facts: Facts,
    extensions: Vec<String>,
    tables: Vec<Found>,
}

/// A table of the snapshot.
#[derive(Debug)]
struct Found {
    schema: String,
    name: String,
    /// Left out altogether.
    excluded: bool,
    /// Stored without its rows.
    emptied: bool,
    /// Whether it is one whose rows are in the dump, unless it is left out.
    has_rows: bool,
    /// Whether the role may read it, as `pg_dump` does with tables and sequences, or has to lock, as it does with partitioned tables.
    is_readable: bool,
}

/// Nothing of the role's or the database's settings ends the transaction or hides rows; names without a schema mean PostgreSQL's own.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                     SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL row_security = off; SET LOCAL search_path = ''";
/// This too ends transactions, since version 17.
const NO_TRANSACTION_TIMEOUT: &str = "SET LOCAL transaction_timeout = 0";

/// What has its rows in the dump: no partitioned tables (their partitions have them), no members of extensions, nothing of the system's,
/// and on a standby no unlogged ones, which cannot be read there.
const TABLES: &str = r"
    SELECT n.nspname::text AS schema, c.relname::text AS name,
           EXISTS (SELECT FROM unnest($1::text[], $2::text[]) AS p(s, t) WHERE n.nspname::text LIKE s AND c.relname::text LIKE t) AS excluded,
           EXISTS (SELECT FROM unnest($3::text[], $4::text[]) AS p(s, t) WHERE n.nspname::text LIKE s AND c.relname::text LIKE t)
             AS emptied,
           c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery()) AS has_rows,
           c.relkind NOT IN ('r', 'p', 'S')
             OR coalesce(has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE'), true) AS is_readable
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2";

const FACTS: &str = r"
    SELECT (to_jsonb(d) || jsonb_build_object(
               'name', d.datname, 'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding),
               'settings', (SELECT coalesce(jsonb_agg(jsonb_build_array(split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1))), '[]')
                            FROM pg_db_role_setting r, unnest(r.setconfig) AS entry WHERE r.setdatabase = d.oid AND r.setrole = 0),
               'role_settings', (SELECT coalesce(jsonb_agg(jsonb_build_array(pg_get_userbyid(r.setrole), split_part(entry, '=', 1),
                                                                             substr(entry, strpos(entry, '=') + 1))), '[]')
                            FROM pg_db_role_setting r, unnest(r.setconfig) AS entry WHERE r.setdatabase = d.oid AND r.setrole <> 0),
               'privileges', (SELECT CASE WHEN d.datacl IS NOT NULL THEN coalesce(jsonb_agg(jsonb_build_object(
                                         'grantee', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
                                         'privilege', a.privilege_type, 'grantable', a.is_grantable)), '[]') END
                            FROM aclexplode(d.datacl) AS a),
               'comment', shobj_description(d.oid, 'pg_database')))::text AS facts,
           pg_export_snapshot() AS snapshot,
           pg_database_size(d.oid) AS bytes,
           has_table_privilege('pg_authid', 'SELECT') AS reads_passwords
    FROM pg_database d WHERE d.datname = current_database()";

const EXTENSIONS: &str = "SELECT extname::text AS name FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";

impl Snapshot {
    /// Begins the transaction.
    pub(super) async fn take(section: &config::Dump, info: &ConnInfo) -> Result<Self> {
        const DOING: &str = "taking a snapshot of the database";
        let sql = SqlConnection::connect(info).await?.with_deadline(section.timeout.0);
        sql.execute(DOING, BEGIN).await?;
        if sql.server_version().major() >= 17 {
            sql.execute(DOING, NO_TRANSACTION_TIMEOUT).await?;
        }
        let row = sql.query_one(DOING, FACTS, &[]).await?;
        let facts: Facts = serde_json::from_str(sql.get(DOING, &row, "facts")?)
            .map_err(|error| super::Error::Interrupted(format!("pg_database cannot be understood: {error}")))?;
        let bytes: i64 = sql.get(DOING, &row, "bytes")?;
        let mut snapshot = Self {
            id: sql.get(DOING, &row, "snapshot")?,
            server_version: sql.server_version().number(),
            reads_passwords: sql.get(DOING, &row, "reads_passwords")?,
            plain_bytes: u64::try_from(bytes).unwrap_or_default(),
            facts,
            extensions: Vec::new(),
            tables: Vec::new(),
            sql,
        };
        snapshot.extensions = snapshot.names(EXTENSIONS).await?;
        snapshot.tables = snapshot.find_tables(section).await?;
        Ok(snapshot)
    }

    /// Ends the transaction, so that the server's log has nothing to complain of.
    pub(super) async fn end(self) -> Result<()> {
        Ok(self.sql.execute("ending the snapshot", "COMMIT").await?)
    }

    /// The connection that holds it: it leads the programs to the same server.
    pub(super) const fn sql(&self) -> &SqlConnection {
        &self.sql
    }

    /// How many tables, views and sequences match a pattern of what is left out.
    pub(super) fn excluded(&self) -> usize {
        self.tables.iter().filter(|table| table.excluded).count()
    }

    /// The tables and sequences that are to be dumped with what is in them, and that the role may not read.
    pub(super) fn unreadable(&self) -> Vec<String> {
        let meant = self.tables.iter().filter(|table| !table.excluded && !table.emptied);
        meant.filter(|table| !table.is_readable).map(|table| format!("{}.{}", table.schema, table.name)).collect()
    }

    /// What tells `pg_dump` what is left out: whole names, in quotes, in which no character is special.
    pub(super) fn exclusions(&self) -> Vec<String> {
        let name = |table: &Found| format!("{}.{}", quoted(&table.schema), quoted(&table.name));
        let excluded = self.tables.iter().filter(|table| table.excluded).map(|table| format!("--exclude-table={}", name(table)));
        let emptied = self.tables.iter().filter(|table| !table.excluded && table.emptied);
        excluded.chain(emptied.map(|table| format!("--exclude-table-data={}", name(table)))).collect()
    }

    /// What the dump holds, the rows counted where they are to be.
    pub(super) async fn inventory(&self, count_rows: bool) -> Result<Inventory> {
        let mut tables = Vec::new();
        for Found { schema, name, .. } in self.counted().filter(|_| count_rows) {
            let doing = format!("counting the rows of {schema}.{name}");
            tables.push(Table {
                schema: schema.clone(),
                name: name.clone(),
                rows: count(&self.sql, &doing, schema, name).await?,
            });
        }
        Ok(Inventory::new(self.facts.clone(), self.extensions.clone(), count_rows.then_some(tables)))
    }

    fn counted(&self) -> impl Iterator<Item = &Found> {
        self.tables.iter().filter(|table| table.has_rows && !table.excluded && !table.emptied)
    }

    async fn names(&self, statement: &str) -> Result<Vec<String>> {
        const DOING: &str = "looking at the database";
        let rows = self.sql.query(DOING, statement, &[]).await?;
        Ok(rows.iter().map(|row| self.sql.get(DOING, row, "name")).collect::<std::result::Result<_, _>>()?)
    }

    async fn find_tables(&self, section: &config::Dump) -> Result<Vec<Found>> {
        const DOING: &str = "listing the tables";
        let split = |patterns: &[TablePattern]| -> (Vec<String>, Vec<String>) { patterns.iter().map(TablePattern::like).unzip() };
        let (excluded, emptied) = (split(&section.exclude_table), split(&section.exclude_table_data));
        let rows = self.sql.query(DOING, TABLES, &[&excluded.0, &excluded.1, &emptied.0, &emptied.1]).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.push(Found {
                schema: self.sql.get(DOING, row, "schema")?,
                name: self.sql.get(DOING, row, "name")?,
                excluded: self.sql.get(DOING, row, "excluded")?,
                emptied: self.sql.get(DOING, row, "emptied")?,
                has_rows: self.sql.get(DOING, row, "has_rows")?,
                is_readable: self.sql.get(DOING, row, "is_readable")?,
            });
        }
        Ok(found)
    }

    /// Locks the tables: from then on nobody drops, empties or rewrites one.
    pub(super) async fn lock(&self) -> Result<()> {
        let names: Vec<String> =
            self.counted().map(|table| format!("ONLY {}.{}", quoted(&table.schema), quoted(&table.name))).collect();
        for names in names.chunks(LOCKED_AT_ONCE) {
            let statement = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
            self.sql.execute("locking the tables against changes of their form", &statement).await?;
        }
        Ok(())
    }
}

/// How many rows a table has by itself, without those that inherit from it.
pub(super) async fn count(sql: &SqlConnection, doing: &str, schema: &str, name: &str) -> Result<u64> {
    let statement = format!("SELECT count(*) AS rows FROM ONLY {}.{}", quoted(schema), quoted(name));
    let row = sql.query_one(doing, &statement, &[]).await?;
    let rows: i64 = sql.get(doing, &row, "rows")?;
    Ok(u64::try_from(rows).unwrap_or_default())
}

/// How many rows each of the tables has in a database; `None` for one that is not there.
pub(super) async fn count_all(sql: &SqlConnection, tables: &[Table]) -> Result<Vec<Option<u64>>> {
    const DOING: &str = "looking for a restored table";
    let mut found = Vec::with_capacity(tables.len());
    for Table { schema, name, .. } in tables {
        let there = "SELECT to_regclass($1::text) IS NOT NULL AS there";
        let qualified = format!("{}.{}", quoted(schema), quoted(name));
        let row = sql.query_one(DOING, there, &[&qualified]).await?;
        let there: bool = sql.get(DOING, &row, "there")?;
        let doing = format!("counting the restored rows of {schema}.{name}");
        found.push(if there { Some(count(sql, &doing, schema, name).await?) } else { None });
    }
    Ok(found)
}
