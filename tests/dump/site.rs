//! What these tests share: a server with a database, an encrypted repository, and the program.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use pg_fixtures::postgres::{Cluster, Installation};
use pg_fixtures::{Scratch, Verbs};
use serde_json::Value;

/// The database that is dumped; its name needs quotes in SQL and in connection strings.
pub const DATABASE: &str = "the 'shop'=1";

/// A database with something of every kind in it.
const SCHEMA: &str = r#"
    CREATE ROLE clerk LOGIN PASSWORD 'hush-hush-clerk';
    CREATE ROLE "odd role" NOLOGIN;
    GRANT clerk TO "odd role";
    CREATE EXTENSION pg_trgm;
    CREATE SCHEMA "Sch.e""ma" AUTHORIZATION "odd role";
    CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL);
    INSERT INTO orders (note) SELECT md5(i::text) FROM generate_series(1, 20000) AS i;
    ALTER TABLE orders OWNER TO clerk;
    CREATE TABLE "Sch.e""ma"."Ta ble*" (a int, b text DEFAULT E'\n');
    INSERT INTO "Sch.e""ma"."Ta ble*" SELECT i FROM generate_series(1, 7) AS i;
    CREATE TABLE calls (at date, n int) PARTITION BY RANGE (at);
    CREATE TABLE calls_2025 PARTITION OF calls FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE calls_2026 PARTITION OF calls FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO calls SELECT date '2025-12-01' + i, i FROM generate_series(0, 99) AS i;
    CREATE TABLE parent (x int); CREATE TABLE child (y int) INHERITS (parent);
    INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 2), (3, 3);
    CREATE UNLOGGED TABLE sessions (id int); INSERT INTO sessions VALUES (1), (2);
    CREATE VIEW recent AS SELECT * FROM orders WHERE id > 19990;
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM orders;
    CREATE TABLE audit (line text); INSERT INTO audit VALUES ('left out');
    CREATE TABLE cache (line text); INSERT INTO cache VALUES ('emptied');
    SELECT lo_from_bytea(4711, 'a large object');
    CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
"#;

/// What stands beside a database and not in it.
const BESIDE: &str = r#"
    ALTER DATABASE_NAME SET work_mem = '5MB'; ALTER DATABASE_NAME SET search_path = '$user', public;
    ALTER DATABASE_NAME OWNER TO "odd role"; ALTER DATABASE_NAME CONNECTION LIMIT 77;
    REVOKE TEMPORARY ON DATABASE_NAME FROM PUBLIC; GRANT CREATE ON DATABASE_NAME TO clerk WITH GRANT OPTION;
    ALTER ROLE clerk IN DATABASE_NAME SET search_path = public; COMMENT ON DATABASE_NAME IS 'it''s a shop';
"#;

/// What has to come back, row for row: everything but what is left out.
const PORTRAIT: &str = r#"
    SELECT 'orders', count(*), md5(string_agg(o::text, '' ORDER BY id)) FROM orders o;
    SELECT 'odd', string_agg(t::text, ';' ORDER BY a) FROM "Sch.e""ma"."Ta ble*" t;
    SELECT tableoid::regclass, string_agg(c::text, ';' ORDER BY at) FROM calls c GROUP BY 1 ORDER BY 1;
    SELECT tableoid::regclass, count(*) FROM parent GROUP BY 1 ORDER BY 1;
    SELECT 'sessions', count(*) FROM sessions;
    SELECT 'views', (SELECT count(*) FROM recent), (SELECT n FROM totals);
    SELECT 'large object', convert_from(lo_get(4711), 'UTF8');
    SELECT twice(21), (SELECT extname FROM pg_extension WHERE extname = 'pg_trgm');
    SELECT 'owner', tableowner FROM pg_tables WHERE tablename = 'orders';
    SELECT 'cache', count(*) FROM cache;
    SELECT 'audit', to_regclass('public.audit') IS NULL;
    SELECT 'next', nextval(pg_get_serial_sequence('orders', 'id')) > 20000;
    SHOW work_mem;
"#;

/// What has to come back beside it.
const SURROUNDINGS: &str = r#"
    SELECT 'database', pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),
           (SELECT string_agg(item, ',' ORDER BY item) FROM unnest(datacl::text[]) AS item)
    FROM pg_database WHERE datname = current_database();
    SELECT 'set', setrole::regrole, setconfig FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY setrole = 0;
"#;

/// What `exclude_*` is set to in most tests.
pub const LEFT_OUT: &str = "exclude_table = [\"public.audit\"]\nexclude_table_data = [\"cach*\"]";

/// A repository, a configuration, and the server of the database.
pub struct Site {
    pub scratch: Scratch,
    verbs: Verbs,
    pub cluster: Cluster,
}

impl Deref for Site {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Site {
    /// A site whose section has these lines besides the conninfo.
    pub fn new(installation: &Installation, more: &str) -> Self {
        let cluster = Cluster::builder(installation).setting("max_prepared_transactions", "2").start();
        cluster.sql(&format!("CREATE DATABASE \"{DATABASE}\""));
        cluster.sql_in_odd(SCHEMA);
        cluster.sql(&BESIDE.replace("DATABASE_NAME", &format!("DATABASE \"{DATABASE}\"")));
        let scratch = Scratch::new();
        let site =
            Self { verbs: Verbs::new(env!("CARGO_BIN_EXE_holdfast"), scratch.path().join("holdfast.toml")), scratch, cluster };
        let made = Command::new("age-keygen").arg("-o").arg(site.key()).output().expect("run age-keygen");
        assert!(made.status.success(), "{}", text(&made.stderr));
        site.configure(&site.encryption(), more);
        site.run(&["init"]);
        site
    }

    /// The section by which everything is encrypted.
    pub fn encryption(&self) -> String {
        let shown = Command::new("age-keygen").arg("-y").arg(self.key()).output().expect("run age-keygen");
        let (recipient, key) = (text(&shown.stdout), self.key().display().to_string());
        format!("[encryption]\nrecipients = [\"{}\"]\nidentity_file = \"{key}\"", recipient.trim())
    }

    pub fn configure(&self, encryption: &str, more: &str) {
        self.configure_with(&self.conninfo(), encryption, more);
    }

    pub fn configure_with(&self, conninfo: &str, encryption: &str, more: &str) {
        let programs = self.cluster.program("pg_dump");
        let text = format!(
            "[repository]\nurl = \"file://{}/repository\"\n{encryption}\n[dump.app]\nconninfo = \"{}\"\n{}\n{more}\n",
            self.scratch.path().display(),
            conninfo,
            if more.contains("programs =") {
                String::new()
            } else {
                format!("programs = \"{}\"", programs.parent().expect("a directory").display())
            },
        );
        fs::write(self.verbs.configuration(), text).expect("write the configuration");
    }

    pub fn key(&self) -> PathBuf {
        self.scratch.path().join("key")
    }

    pub fn conninfo(&self) -> String {
        let (host, port) = (self.cluster.socket_directory().display(), self.cluster.port());
        format!("host={host} port={port} user=postgres dbname='{}'", DATABASE.replace('\'', "\\\\'"))
    }

    pub fn backup(&self) -> Value {
        self.json(&["backup", "dump/app"])
    }

    /// The files that hold the content of backups.
    pub fn stored(&self) -> Vec<PathBuf> {
        files_below(&self.scratch.path().join("repository/dump/app/data"))
    }

    /// The databases of the server.
    pub fn databases(&self) -> Vec<String> {
        let names = self.cluster.sql("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1");
        names.lines().map(str::to_owned).collect()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// What these tests ask a server.
pub trait Asked {
    /// Runs SQL in the database with the odd name.
    fn sql_in_odd(&self, statements: &str) -> String;
    /// What a database looks like to whoever uses it.
    fn portrait(&self, database: &str) -> String;
    /// Its owner, limit, comment, privileges and settings.
    fn surroundings(&self, database: &str) -> String;
}

impl Asked for Cluster {
    fn sql_in_odd(&self, statements: &str) -> String {
        self.sql_in(&argument(DATABASE), statements)
    }

    fn portrait(&self, database: &str) -> String {
        self.sql_in(&argument(database), PORTRAIT)
    }

    fn surroundings(&self, database: &str) -> String {
        self.sql_in(&argument(database), SURROUNDINGS)
    }
}

/// A name as psql takes it for a database, whatever is in it.
fn argument(database: &str) -> String {
    format!("dbname='{}'", database.replace('\'', "\\'"))
}
