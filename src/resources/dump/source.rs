//! Where a dump comes from and goes to: a server, the programs that fit it, and the environment that leads them there.

use std::time::Duration;

use tokio::process::Command;

use super::error::{Error, Result};
use crate::config::{self, SecretVariables};
use crate::pgwire::{ConnInfo, LoginVariables, SqlConnection};
use crate::repository::ResourceName;
use crate::sys::local_postgres::Programs;
use crate::sys::program::Terms;

/// How the agent shows in `pg_stat_activity`, where the connection string does not say.
const APPLICATION: &str = "holdfast";

/// How to reach the configured database.
pub(super) fn conninfo(name: &ResourceName, section: &config::Dump) -> Result<ConnInfo> {
    let info = ConnInfo::parse(&section.conninfo.reveal()?, &config::environment())?;
    if !info.names_a_database() {
        return Err(Error::NoDatabase(name.to_string()));
    }
    Ok(info.with_default_application_name(APPLICATION))
}

/// The programs that dump a server of this major version, or restore what those of this version have dumped.
pub(super) fn programs(section: &config::Dump, major: u32) -> Result<Programs> {
    Ok(Programs::for_dumps(major, section.programs.as_deref(), &config::program_directories())?)
}

/// How programs are run against one server.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    programs: Programs,
    login: LoginVariables,
    hidden: SecretVariables,
    limit: Duration,
}

impl Tools {
    /// The programs, led to the server that `sql` is connected to.
    pub(super) fn new(programs: Programs, info: &ConnInfo, sql: &SqlConnection, section: &config::Dump) -> Result<Self> {
        let login = info.login_variables(sql.server());
        let login = login.ok_or_else(|| Error::Interrupted(format!("{} is not in its connection string", sql.server())))?;
        Ok(Self { programs, login, hidden: section.hidden.clone(), limit: section.timeout.0 })
    }

    /// The major version of the programs.
    pub(super) const fn major(&self) -> u32 {
        self.programs.major()
    }

    /// One of the programs. Passwords are in its environment and not on its command line.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.program(program));
        for name in self.hidden.names().chain(self.login.unset.iter().copied()) {
            command.env_remove(name);
        }
        command.envs(self.login.set.iter().map(|(name, value)| (name, value)));
        command.env("LC_ALL", "C").arg("--no-password");
        command
    }

    /// What it is run with.
    pub(super) fn terms(&self, program: &str) -> Terms {
        Terms { name: program.to_owned(), limit: self.limit, secrets: self.login.password.iter().cloned().collect() }
    }
}

/// A database's name as the argument of a program: by itself, a name such as `a=b` would be taken for a connection string.
pub(super) fn database_argument(option: &str, name: &str) -> String {
    format!("{option}=dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A name as SQL reads it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text as SQL reads it, whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let escape = if text.contains('\\') { " E" } else { "" };
    format!("{escape}'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_stay_what_they_are() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!((literal("it's").as_str(), literal("a\\b").as_str()), ("'it''s'", " E'a\\\\b'"));
        assert_eq!(database_argument("--dbname", "a='b\\"), "--dbname=dbname='a=\\'b\\\\'");
    }
}
