//! Who can read what is stored: found by looking at a sample of objects, without opening any.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::repository::{Repository, ResourceName, Result, Sample};

/// The keys of a repository.
#[derive(Debug, Clone, Serialize)]
pub struct Keys {
    /// Whom new objects are encrypted to.
    pub recipients: Vec<String>,
    /// The recipients whose identities are at hand.
    pub identities: Vec<String>,
    /// Why the identities that are configured cannot be used.
    pub identity_problem: Option<String>,
    /// What the objects that were looked at need.
    pub stored: Vec<Needed>,
}

/// Objects that need the same.
#[derive(Debug, Clone, Serialize)]
pub struct Needed {
    /// The recipients, any one of whom can open them; none: they lie in the clear.
    pub recipients: Vec<String>,
    /// How many of the objects that were looked at.
    pub objects: usize,
    /// One of them, the newest.
    pub example: String,
    /// Whether an identity at hand opens them, or none is needed.
    pub opens: bool,
}

impl Keys {
    /// How many objects were looked at.
    #[must_use]
    pub fn looked_at(&self) -> usize {
        self.stored.iter().map(|needed| needed.objects).sum()
    }
}

/// Looks at the keys, and at some objects of each resource. Reads the identities, which may ask for a passphrase.
///
/// # Errors
/// When the store fails.
pub async fn look(repository: &Repository, resources: &[ResourceName]) -> Result<Keys> {
    let encryption = repository.encryption().clone();
    let recipients = encryption.recipients.names();
    let names = tokio::task::spawn_blocking(move || encryption.identities.names()).await;
    let (identities, identity_problem) = match names {
        Ok(Ok(names)) => (names, None),
        Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
        Err(panic) => (Vec::new(), Some(panic.to_string())),
    };
    let mut samples = Vec::new();
    for resource in resources {
        samples.extend(repository.samples(resource).await?);
    }
    let stored = grouped(samples, &identities);
    Ok(Keys { recipients, identities, identity_problem, stored })
}

/// The newest comes first in `samples`.
fn grouped(samples: Vec<Sample>, identities: &[String]) -> Vec<Needed> {
    let mut groups: BTreeMap<Vec<String>, Needed> = BTreeMap::new();
    for Sample { object, recipients } in samples {
        let opens = recipients.is_empty() || recipients.iter().any(|name| identities.contains(name));
        let new = Needed { recipients: recipients.clone(), objects: 0, example: object.to_string(), opens };
        groups.entry(recipients).or_insert(new).objects += 1;
    }
    groups.into_values().collect()
}
