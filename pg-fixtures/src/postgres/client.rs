//! Talking to a cluster: psql, pgbench and the other client programs.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Cluster, Load};
use crate::ServerUser;

impl Cluster {
    /// The conninfo of the superuser over the Unix socket.
    #[must_use]
    pub fn conninfo(&self) -> String {
        self.conninfo_of("postgres")
    }

    /// The conninfo of a role over the Unix socket.
    #[must_use]
    pub fn conninfo_of(&self, role: &str) -> String {
        format!("host={} port={} user={role} dbname=postgres", self.socket_directory().display(), self.port())
    }

    /// The conninfo of the superuser over TCP.
    #[must_use]
    pub fn tcp_conninfo(&self) -> String {
        self.tcp_conninfo_of("postgres")
    }

    /// The conninfo of a role over TCP.
    #[must_use]
    pub fn tcp_conninfo_of(&self, role: &str) -> String {
        format!("host=127.0.0.1 port={} user={role} dbname=postgres", self.port())
    }

    /// A program's command, as the server's user, with the environment that leads libpq to this cluster.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = ServerUser::current().command(program.as_ref());
        command.env("PGHOST", self.socket_directory()).env("PGPORT", self.port().to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", "postgres");
        command
    }

    /// Runs one of the installation's programs (a bare name) or another (a path with a slash), as the server's user, and returns
    /// its output.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_run<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Output {
        let path = if program.contains('/') { program.into() } else { self.program(program) };
        let mut command = self.command(&path);
        command.args(arguments).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("run {program}: {error}"))
    }

    /// As `try_run`, and returns its standard output.
    ///
    /// # Panics
    /// When it fails, with its error output.
    pub fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> String {
        let output = self.try_run(program, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed ({}): {errors}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs SQL statements, each in a transaction of its own, and returns the rows: columns separated by `|`, rows by line ends.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_in("postgres", statements)
    }

    /// As `sql`, in another database.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql_in(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// The error of a statement that must fail.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn sql_error(&self, statements: &str) -> String {
        match self.try_sql("postgres", statements) {
            Ok(rows) => panic!("succeeded, and should not: {statements}: {rows}"),
            Err(error) => error,
        }
    }

    /// As `sql_in`, for a server that may be away or refuse.
    ///
    /// # Errors
    /// What psql says.
    ///
    /// # Panics
    /// When psql cannot be started.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut command = self.command(self.program("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]).env("PGCONNECT_TIMEOUT", "10");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = command.spawn().expect("run psql");
        let mut input = psql.stdin.take().expect("standard input is piped");
        drop(input.write_all(statements.as_bytes())); // a psql that found no server has closed it, and says so below
        drop(input);
        let output = psql.wait_with_output().expect("wait for psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Runs pgbench and waits for its end.
    ///
    /// # Panics
    /// When it fails.
    pub fn pgbench(&self, arguments: &[&str]) -> String {
        self.run("pgbench", arguments)
    }

    /// Starts pgbench, which goes on until it is stopped or dropped (or its own `-T` or `-t` ends it).
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn pgbench_background(&self, arguments: &[&str]) -> Load {
        let mut command = self.command(self.program("pgbench"));
        command.args(arguments);
        Load::start(command)
    }

    /// Ends the current WAL segment, having written to it, and returns the name of the segment that was ended.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn switch_wal(&self) -> String {
        self.sql("SELECT pg_logical_emit_message(false, 'holdfast', 'end of segment')");
        self.sql("SELECT pg_walfile_name(pg_switch_wal())")
    }

    /// The position up to which WAL is written (on a standby: replayed), as `X/X`.
    ///
    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn lsn(&self) -> String {
        self.sql("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END")
    }

    /// The system identifier, in decimal.
    ///
    /// # Panics
    /// When the server does not run.
    #[must_use]
    pub fn system_identifier(&self) -> String {
        self.sql("SELECT system_identifier FROM pg_control_system()")
    }
}
