//! Where a cluster's WAL and files come from: its connection, read from the configuration in one way for all who need it.

use super::followed::Superseded;
use crate::config::{self, Postgres};
use crate::pg::version::UnsupportedVersion;
use crate::pgwire::{self, ConnInfo, ConnInfoError, SlotNameError};
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

/// How to reach a configured cluster.
///
/// # Errors
/// When the secret cannot be had or the text is no connection string.
pub fn conninfo(cluster: &Postgres) -> Result<ConnInfo, Error> {
    let text = cluster.conninfo.reveal()?;
    let info = ConnInfo::parse(&text, &config::environment())?;
    let info = if info.names_a_database() { info } else { info.with_dbname(DATABASE) };
    Ok(info.with_default_application_name(&cluster.application_name))
}
