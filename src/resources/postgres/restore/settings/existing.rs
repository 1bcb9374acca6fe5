//! What the restored configuration files say already. Read as PostgreSQL reads them, but for the files they include.

use crate::pg::control::StandbySettings;

/// The settings of two files.
pub(super) struct Existing<'a> {
    automatic: Vec<(String, &'a str)>,
    main: Vec<(String, &'a str)>,
}

/// What the server takes where nothing is said, as in PostgreSQL's source (`guc_tables.c`).
const DEFAULTS: [(&str, u32); 5] = [
    ("max_connections", 100),
    ("max_worker_processes", 8),
    ("max_wal_senders", 10),
    ("max_prepared_transactions", 0),
    ("max_locks_per_transaction", 64),
];

impl<'a> Existing<'a> {
    pub(super) fn new(automatic: Option<&'a str>, main: Option<&'a str>) -> Self {
        let read = |text: Option<&'a str>| text.unwrap_or_default().lines().filter_map(assignment).collect();
        Self { automatic: read(automatic), main: read(main) }
    }

    /// What `postgresql.auto.conf` sets it to; empty where it does not.
    pub(super) fn automatic(&self, name: &str) -> &'a str {
        self.automatic.iter().rfind(|(set, _)| set == name).map_or("", |(_, value)| value)
    }

    /// Whether `postgresql.conf` sets it.
    pub(super) fn main_has(&self, name: &str) -> bool {
        self.main.iter().any(|(set, _)| set == name)
    }

    /// The settings that are lower than they must be, or may be because a file is included, with the value they need.
    pub(super) fn too_low(&self, minimum: &StandbySettings) -> impl Iterator<Item = (&'static str, u32)> {
        minimum.named().into_iter().filter(|(name, needed)| self.value(name).is_none_or(|value| value < *needed))
    }

    /// The value of a numeric setting; none where it cannot be told.
    fn value(&self, name: &str) -> Option<u32> {
        let last =
            |settings: &[(String, &str)]| settings.iter().rfind(|(set, _)| set == name).map(|(_, value)| value.parse().ok());
        let includes = self.main.iter().any(|(set, _)| set.starts_with("include"));
        let default = || DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        match (last(&self.automatic), includes) {
            (Some(value), _) => value,
            (None, true) => None,
            (None, false) => last(&self.main).unwrap_or_else(default),
        }
    }
}

/// A line's name in lower case, and its value without quotes. Comments and empty lines have none.
fn assignment(line: &str) -> Option<(String, &str)> {
    let line = line.trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next()?,
        None => rest.split(['#', ' ', '\t']).next()?,
    };
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value.trim_end()))
}

/// The text without the lines that set something of which `drop` is true.
pub(super) fn without(text: &str, drop: impl Fn(&str) -> bool) -> String {
    let kept = text.lines().filter(|line| !assignment(line).is_some_and(|(name, _)| drop(&name)));
    kept.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_postgresql_reads_them() {
        for (line, expected) in [
            ("max_connections = 100", Some(("max_connections", "100"))),
            ("  Max_Connections 200 # many", Some(("max_connections", "200"))),
            ("port='5432'", Some(("port", "5432"))),
            ("include_dir 'conf.d'", Some(("include_dir", "conf.d"))),
            ("# port = 1", None),
            ("", None),
        ] {
            let found = assignment(line);
            assert_eq!(found.as_ref().map(|(name, value)| (name.as_str(), *value)), expected, "{line}");
        }
    }
}
