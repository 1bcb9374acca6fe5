//! The keywords of libpq: which there are, which variable stands in for each, and what is done with it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Config;

use super::keywords::quote;
use super::{AllowedMethods, ConnInfoError, HostSpec, KEEPALIVES_IDLE, hosts};
use crate::config::Environment;

/// What is done with a keyword.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Use {
    /// `tokio-postgres` reads it, under this name.
    Config(&'static str),
    /// It is read here.
    Here,
    /// It has no effect here, and none is missed.
    Ignored,
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// The keywords of libpq 18 (documentation, "Parameter Key Words" and "Environment Variables").
const KEYWORDS: &[(&str, &str, Use)] = &[
    ("application_name", "PGAPPNAME", Use::Config("application_name")),
    ("channel_binding", "PGCHANNELBINDING", Use::Config("channel_binding")),
    ("client_encoding", "PGCLIENTENCODING", Use::Ignored),
    ("connect_timeout", "PGCONNECT_TIMEOUT", Use::Config("connect_timeout")),
    ("dbname", "PGDATABASE", Use::Config("dbname")),
    ("fallback_application_name", "", Use::Here),
    ("gssdelegation", "PGGSSDELEGATION", Use::Ignored),
    ("gssencmode", "PGGSSENCMODE", Use::Here),
    ("gsslib", "PGGSSLIB", Use::Ignored),
    ("host", "PGHOST", Use::Here),
    ("hostaddr", "PGHOSTADDR", Use::Here),
    ("keepalives", "", Use::Config("keepalives")),
    ("keepalives_count", "", Use::Config("keepalives_retries")),
    ("keepalives_idle", "", Use::Config("keepalives_idle")),
    ("keepalives_interval", "", Use::Config("keepalives_interval")),
    ("krbsrvname", "PGKRBSRVNAME", Use::Ignored),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", Use::Config("load_balance_hosts")),
    ("max_protocol_version", "PGMAXPROTOCOLVERSION", Use::Ignored),
    ("min_protocol_version", "PGMINPROTOCOLVERSION", Use::Ignored),
    ("options", "PGOPTIONS", Use::Config("options")),
    ("passfile", "PGPASSFILE", Use::Here),
    ("password", "PGPASSWORD", Use::Config("password")),
    ("port", "PGPORT", Use::Here),
    ("replication", "", Use::Ignored),
    ("require_auth", "PGREQUIREAUTH", Use::Here),
    ("requirepeer", "PGREQUIREPEER", Use::Refused("use sslmode=verify-full over TCP to be sure of the server")),
    ("service", "PGSERVICE", Use::Refused("write what the service file says into the connection string")),
    ("servicefile", "PGSERVICEFILE", Use::Ignored),
    ("sslcert", "PGSSLCERT", Use::Here),
    ("sslcertmode", "PGSSLCERTMODE", Use::Here),
    ("sslcompression", "PGSSLCOMPRESSION", Use::Ignored),
    ("sslcrl", "PGSSLCRL", Use::Refused("revocation lists are not read")),
    ("sslcrldir", "PGSSLCRLDIR", Use::Refused("revocation lists are not read")),
    ("sslkey", "PGSSLKEY", Use::Here),
    ("sslmode", "PGSSLMODE", Use::Here),
    ("sslnegotiation", "PGSSLNEGOTIATION", Use::Here),
    ("sslpassword", "", Use::Refused("encrypted keys are not read; decrypt it, as with 'openssl pkey -in KEY -out NEW'")),
    ("sslrootcert", "PGSSLROOTCERT", Use::Here),
    ("sslsni", "PGSSLSNI", Use::Here),
    ("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", Use::Here),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", Use::Here),
    ("target_session_attrs", "PGTARGETSESSIONATTRS", Use::Here),
    ("tcp_user_timeout", "", Use::Here),
    ("user", "PGUSER", Use::Config("user")),
];

/// All variables that libpq reads for a connection.
pub(super) fn variables() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|(_, variable, _)| *variable).filter(|variable| !variable.is_empty())
}

/// What was given, by keyword. An empty value counts as not given, but keeps the variable from standing in.
pub(super) struct Settings(BTreeMap<&'static str, String>);

impl Settings {
    /// Checks the keywords and adds the variables.
    pub(super) fn complete(pairs: Vec<(String, String)>, environment: &Environment) -> Result<Self, ConnInfoError> {
        let mut values = BTreeMap::new();
        for (keyword, value) in pairs {
            let known = KEYWORDS.iter().find(|(name, ..)| *name == keyword);
            let (name, _, used) = known.ok_or_else(|| unknown(keyword))?;
            check(name, *used, &value)?;
            values.insert(*name, value);
        }
        for (name, variable, used) in KEYWORDS {
            if let Some(value) = environment.variable(variable).filter(|_| !values.contains_key(name)) {
                check(name, *used, value)?;
                values.insert(*name, value.to_owned());
            }
        }
        Ok(Self(values))
    }

    /// A value, unless it is empty.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.0.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What was given, as variables.
    pub(super) fn given(&self) -> Vec<(&'static str, String)> {
        let named = KEYWORDS.iter().filter(|(_, variable, _)| !variable.is_empty());
        named.filter_map(|(keyword, variable, _)| Some((*variable, self.get(keyword)?.to_owned()))).collect()
    }

    /// What `tokio-postgres` reads, read by it.
    pub(super) fn config(&self) -> Result<Config, ConnInfoError> {
        let own = |used: &Use| if let Use::Config(own) = used { Some(*own) } else { None };
        let given = KEYWORDS.iter().filter_map(|(name, _, used)| Some((*name, own(used)?, self.get(name)?)));
        let text = given.clone().map(|(_, own, value)| format!("{own}={}", quote(value))).collect::<Vec<_>>().join(" ");
        let Ok(mut config) = text.parse::<Config>() else {
            return Err(blame(given));
        };
        if self.get("keepalives_idle").is_none() {
            config.keepalives_idle(KEEPALIVES_IDLE);
        }
        if let (None, Some(name)) = (config.get_application_name(), self.get("fallback_application_name")) {
            config.application_name(name);
        }
        Ok(config)
    }

    pub(super) fn hosts(&self) -> Result<Vec<HostSpec>, ConnInfoError> {
        let list = |keyword| self.get(keyword).unwrap_or_default();
        hosts::pair(list("host"), list("hostaddr"), list("port"))
    }

    pub(super) fn allowed_methods(&self) -> Result<AllowedMethods, ConnInfoError> {
        let text = self.get("require_auth").unwrap_or_default();
        let expected = "methods as in 'scram-sha-256,md5', or each with a '!' before it,";
        AllowedMethods::parse(text).ok_or_else(|| ConnInfoError::invalid("require_auth", text, expected))
    }

    pub(super) fn milliseconds(&self, keyword: &'static str) -> Result<Option<Duration>, ConnInfoError> {
        let read = |text: &str| text.parse().map_err(|_| ConnInfoError::invalid(keyword, text, "a number of milliseconds"));
        let value = self.get(keyword).map(read).transpose()?;
        Ok(value.filter(|value| *value != 0).map(Duration::from_millis))
    }

    /// `0` or `1`
    pub(super) fn flag(&self, keyword: &'static str) -> Result<Option<bool>, ConnInfoError> {
        match self.get(keyword) {
            None => Ok(None),
            Some("0") => Ok(Some(false)),
            Some("1") => Ok(Some(true)),
            Some(other) => Err(ConnInfoError::invalid(keyword, other, "0 or 1")),
        }
    }
}

fn check(keyword: &'static str, used: Use, value: &str) -> Result<(), ConnInfoError> {
    let forced = keyword == "gssencmode" && value == "require";
    match used {
        Use::Refused(reason) if !value.is_empty() => Err(ConnInfoError::NotSupported { keyword, reason }),
        _ if forced => Err(ConnInfoError::NotSupported { keyword, reason: "GSSAPI encryption is not had; use sslmode=require" }),
        _ => Ok(()),
    }
}

/// Which of the values `tokio-postgres` cannot read.
fn blame<'a>(given: impl Iterator<Item = (&'static str, &'static str, &'a str)>) -> ConnInfoError {
    let mut wrong = given.filter(|(_, own, value)| format!("{own}={}", quote(value)).parse::<Config>().is_err());
    match wrong.next() {
        Some((keyword, _, value)) => ConnInfoError::invalid(keyword, value, "another value"),
        None => ConnInfoError::Syntax("it cannot be read as a whole".into()),
    }
}

fn unknown(keyword: String) -> ConnInfoError {
    let nearest = KEYWORDS.iter().map(|(name, ..)| (distance(name, &keyword), *name)).min();
    let nearest = nearest.filter(|(distance, _)| *distance <= 2).map(|(_, name)| name);
    ConnInfoError::UnknownKeyword { keyword, nearest }
}

/// How many letters have to be changed, added or removed to get from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in to.bytes().enumerate() {
            let cost = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = cost.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
