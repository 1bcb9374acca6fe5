//! The environment in which PostgreSQL's own programs log in as this library does: nothing of it stands on a command line.

use std::fmt;

use super::{ConnInfo, Host};

/// What was given to connect with, as the variables that libpq reads.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Given(pub(super) Vec<(&'static str, String)>);

/// The names only: a password may be among the values.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Variables for a program that is to log in to one server.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginVariables {
    /// Those to set.
    pub set: Vec<(&'static str, String)>,
    /// Those to remove: they would change what is meant.
    pub unset: Vec<&'static str>,
    /// The password that is among the values.
    pub password: Option<String>,
}

impl fmt::Debug for LoginVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set: Vec<&str> = self.set.iter().map(|(name, _)| *name).collect();
        f.debug_struct("LoginVariables").field("set", &set).field("unset", &self.unset).finish_non_exhaustive()
    }
}

impl ConnInfo {
    /// The variables with which a program of PostgreSQL logs in to the server of that name (as connections and errors name it), and to
    /// no other; `None` if there is no such server here.
    #[must_use]
    pub fn login_variables(&self, server: &str) -> Option<LoginVariables> {
        let host = self.hosts.iter().find(|host| host.to_string() == server)?;
        let mut set = self.given.0.clone();
        let mut put = |name: &'static str, value: Option<String>| {
            set.retain(|(known, _)| *known != name);
            set.extend(value.map(|value| (name, value)));
        };
        put(
            "PGHOST",
            match &host.host {
                Host::Tcp(name) => Some(name.clone()),
                Host::Unix(directory) => Some(directory.display().to_string()),
                Host::Local => None,
            },
        );
        put("PGHOSTADDR", host.address.map(|address| address.to_string()));
        put("PGPORT", Some(host.port.to_string()));
        put("PGUSER", Some(self.user.clone()));
        put("PGDATABASE", Some(self.dbname().to_owned()));
        put("PGTARGETSESSIONATTRS", None);
        put("PGLOADBALANCEHOSTS", None);
        put("PGCONNECT_TIMEOUT", Some(self.connect_timeout.as_secs().max(2).to_string()));
        let password = self.credentials(host, self.dbname()).password;
        let password = password.map(|password| String::from_utf8_lossy(&password).into_owned());
        put("PGPASSWORD", password.clone());
        let unset = super::settings::variables().filter(|name| set.iter().all(|(known, _)| known != name)).collect();
        Some(LoginVariables { set, unset, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn a_program_is_led_to_the_one_server_with_all_that_was_given() {
        let text = "host=a,/run/b port=1,2 user=me password=hush dbname='my db' sslmode=disable target_session_attrs=read-write";
        let info = ConnInfo::parse(text, &Environment::default()).expect("a connection string");
        let variables = info.login_variables("/run/b/.s.PGSQL.2").expect("it is one of the servers");
        let value = |name: &str| variables.set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!((value("PGHOST"), value("PGPORT"), value("PGUSER")), (Some("/run/b"), Some("2"), Some("me")));
        assert_eq!(
            (value("PGDATABASE"), value("PGPASSWORD"), value("PGSSLMODE")),
            (Some("my db"), Some("hush"), Some("disable"))
        );
        assert!(variables.unset.contains(&"PGTARGETSESSIONATTRS") && variables.unset.contains(&"PGSERVICE"));
        assert!(!variables.unset.contains(&"PGHOST"));
        assert!(!format!("{variables:?} {info:?}").contains("hush"));
        assert_eq!(info.login_variables("c:5432"), None);
    }
}
