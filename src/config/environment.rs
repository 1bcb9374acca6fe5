//! Reading the environment, as a plain value for those who may not read it themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

/// What a connection string is completed from: the variables that libpq knows (`PG...`), and whose process this is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
    user: Option<String>,
}

/// The environment of this process.
#[must_use]
pub fn environment() -> Environment {
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("PG"))
        .collect();
    let user = User::from_uid(geteuid()).ok().flatten();
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| user.as_ref().map(|user| user.dir.clone()));
    Environment::new(variables, home, user.map(|user| user.name))
}

/// Whether a variable can be called so.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// The directories in which programs are looked for (`PATH`).
#[must_use]
pub fn program_directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|directory| directory.is_absolute()).collect()
}

impl Environment {
    /// An environment of these variables, this home directory and this user of the operating system.
    #[must_use]
    pub const fn new(variables: BTreeMap<String, String>, home: Option<PathBuf>, user: Option<String>) -> Self {
        Self { variables, home, user }
    }

    /// The value of a variable; `None` if it is unset.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The home directory.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The name of the process's user.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// The names of the variables only: `PGPASSWORD` is a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
        f.debug_struct("Environment").field("variables", &names).field("home", &self.home).field("user", &self.user).finish()
    }
}
