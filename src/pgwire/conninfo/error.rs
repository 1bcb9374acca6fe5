//! What can be wrong with a connection string. Values are shown, passwords never.

/// A connection string, or the variables that complete it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnInfoError {
    /// It cannot be read.
    #[error("the connection string cannot be read: {0}")]
    Syntax(String),
    /// There is no such keyword.
    #[error("'{keyword}' is no keyword of connection strings{}", nearest.map(|n| format!("; did you mean '{n}'?")).unwrap_or_default())]
    UnknownKeyword {
        /// What was written.
        keyword: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// A value makes no sense.
    #[error("{keyword}={value}: {expected} is expected")]
    InvalidValue {
        /// The keyword.
        keyword: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A keyword of libpq that is not supported.
    #[error("{keyword} is not supported: {reason}")]
    NotSupported {
        /// The keyword.
        keyword: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The lists differ in length.
    #[error("{hosts} hosts, {addresses} addresses (hostaddr) and {ports} ports do not go together")]
    HostCount {
        /// How many hosts.
        hosts: usize,
        /// How many addresses.
        addresses: usize,
        /// How many ports.
        ports: usize,
    },
}

impl ConnInfoError {
    pub(super) fn invalid(keyword: &'static str, value: &str, expected: impl Into<String>) -> Self {
        Self::InvalidValue { keyword, value: value.to_owned(), expected: expected.into() }
    }

    /// What to do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::HostCount { .. } => Some("give one port for all hosts, or one for each; one hostaddr for each host, or none"),
            _ => {
                Some("a connection string is written as in 'host=db1 port=5432 user=holdfast' or postgresql://holdfast@db1:5432/")
            }
        }
    }
}
