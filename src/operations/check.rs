//! Whether all is as it must be: configuration, access, what is stored, what is shipping. Findings are values; nothing is repaired.

mod archiver;
mod cluster;
mod encryption;
mod objectives;
mod resource;
mod server;

use std::sync::Arc;

use serde::Serialize;

use crate::codec::Compression;
use crate::repository::{Damaged, Repository};
use crate::storage::{ConditionalPut, Store};

pub use cluster::check_cluster;
pub use encryption::check_encryption;
pub use resource::check_resource;

/// How bad a finding is; the worst is the program's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something to look at; nothing is lost yet.
    Warning,
    /// Something cannot be restored, or soon cannot.
    Critical,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `repository`, `postgres/main`.
    pub object: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding that is as it should be.
    #[must_use]
    pub fn ok(object: &str, found: impl Into<String>) -> Self {
        Self { object: object.to_owned(), level: Level::Ok, found: found.into(), hint: None }
    }

    /// A finding that is not.
    #[must_use]
    pub fn bad(level: Level, object: &str, found: impl Into<String>, hint: Option<String>) -> Self {
        Self { object: object.to_owned(), level, found: found.into(), hint }
    }
}

/// The worst level of any finding.
#[must_use]
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// What is looked at where it is no resource.
pub const REPOSITORY: &str = "repository";

/// Looks at the repository in a store; where it cannot be opened, that is the only finding.
pub async fn check_repository(store: Arc<dyn Store>, compression: Compression) -> (Vec<Finding>, Option<Repository>) {
    let url = store.url();
    let conditional = store.conditional_put();
    match Repository::open(store, compression).await {
        Ok(repository) => {
            let mut findings = vec![Finding::ok(REPOSITORY, format!("{url} can be read")), conditional_put(&url, conditional)];
            findings.extend(repository.damaged_marker().map(judge_marker));
            (findings, Some(repository))
        }
        Err(error) => (vec![Finding::bad(Level::Critical, REPOSITORY, error.to_string(), error.hint())], None),
    }
}

fn judge_marker(damaged: &Damaged) -> Finding {
    let hint =
        "bring it back from a copy of the repository; where there is none, move it out of the repository and run 'holdfast init'";
    Finding::bad(Level::Critical, REPOSITORY, damaged.to_string(), Some(hint.to_owned()))
}

fn conditional_put(url: &str, found: ConditionalPut) -> Finding {
    match found {
        ConditionalPut::Atomic => Finding::ok(REPOSITORY, "creating an object that exists is refused by the store"),
        ConditionalPut::LookedUp => Finding::bad(
            Level::Warning,
            REPOSITORY,
            format!("{url} accepts If-None-Match and ignores it: two writers at the same moment can overwrite each other"),
            Some("let one agent only write to it, or use a store with conditional writes".to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        assert_eq!(worst(&[]), Level::Ok);
        let findings =
            [Finding::ok("a", "x"), Finding::bad(Level::Critical, "a", "y", None), Finding::bad(Level::Warning, "b", "z", None)];
        assert_eq!(worst(&findings), Level::Critical);
    }
}
