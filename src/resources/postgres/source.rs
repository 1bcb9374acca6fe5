//! Where a cluster's WAL and files come from: its connection, read from the configuration in one way for all who need it.

use super::followed::Superseded;
use crate::config::{self, Postgres};
use crate::pg::version::UnsupportedVersion;
use crate::pgwire::{self, ConnInfo, ConnInfoError, SlotNameError, TargetSessionAttrs};
use crate::repository;

/// The database for plain SQL where neither the conninfo nor `PGDATABASE` names one. libpq would take one of the role's name, which
/// a role that only replicates seldom has.
const DATABASE: &str = "postgres";

/// Why a configured cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The connection string cannot be understood.
    #[error(transparent)]
    ConnInfo(#[from] ConnInfoError),
    /// The slot's name is none.
    #[error(transparent)]
    SlotName(#[from] SlotNameError),
    /// The server cannot be reached or refuses.
    #[error(transparent)]
    Server(#[from] pgwire::Error),
    /// The server is too old or too new.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
    /// The repository fails, or belongs to another cluster.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Another server was promoted, and its history is stored.
    #[error(transparent)]
    Superseded(#[from] Superseded),
}

impl Error {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint().map(str::to_owned),
            Self::Server(error) => error.hint().map(str::to_owned),
            Self::Repository(error) => error.hint(),
            Self::ConnInfo(error) => error.hint().map(str::to_owned),
            Self::Superseded(error) => Some(error.hint()),
            Self::SlotName(_) | Self::Version(_) => None,
        }
    }
}

/// How to reach a configured cluster. Of several servers the primary, unless the conninfo says otherwise: any of them would do for libpq, and who
/// once went to the standby, because the primary was restarted, would stay there.
///
/// # Errors
/// When the secret cannot be had or the text is no connection string.
pub fn conninfo(cluster: &Postgres) -> Result<ConnInfo, Error> {
    let text = cluster.conninfo.reveal()?;
    let info = ConnInfo::parse(&text, &config::environment())?;
    let info = if info.names_a_database() { info } else { info.with_dbname(DATABASE) };
    let info = if info.hosts().len() > 1 { info.with_default_target_session_attrs(TargetSessionAttrs::Primary) } else { info };
    Ok(info.with_default_application_name(&cluster.application_name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn of_several_servers_the_primary_is_meant_unless_something_else_is_said() {
        let target = |text: &str| {
            let text = format!("[repository]\nurl = \"file:///b\"\n[postgres.main]\nconninfo = \"{text}\"\n");
            let config = parse(&text, std::path::Path::new("/c")).expect("a valid configuration");
            let (_, section) = config.clusters().next().expect("a cluster");
            conninfo(section).expect("a conninfo").target_session_attrs()
        };
        assert_eq!(target("host=a,b"), TargetSessionAttrs::Primary);
        assert_eq!(target("host=a,b target_session_attrs=any"), TargetSessionAttrs::Any);
        assert_eq!(target("host=a"), TargetSessionAttrs::Any);
    }
}
