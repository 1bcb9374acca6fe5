//! Holds: backups that are kept whatever retention says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupId, Backups, Damaged, Result, keys, record};
use crate::storage::list_all;
use crate::sys::host;

/// Why and how long a backup is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The backup.
    pub id: BackupId,
    /// Until when; for ever where it is not said.
    pub until: Option<Timestamp>,
    /// What for, in the words of whoever asked.
    pub reason: Option<String>,
    /// When it was asked for.
    pub made_at: Timestamp,
    /// On which host.
    pub made_on: String,
}

impl Hold {
    fn damaged(id: BackupId, damaged: &Damaged, made_at: Timestamp) -> Self {
        Self { id, until: None, reason: Some(damaged.to_string()), made_at, made_on: "unknown".to_owned() }
    }

    /// Whether it is in force.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("held")?;
        self.until.iter().try_for_each(|until| write!(f, " until {until}"))?;
        self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
    }
}

impl Backups {
    /// Keeps a backup, beside the holds that it has already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hold(&self, hold: &Hold) -> Result<()> {
        let key = keys::hold(self.resource(), &hold.id, host::mark());
        self.repository().store.put_if_absent(&key, record::seal(hold)).await?;
        Ok(())
    }

    /// Takes all holds on a backup back; returns how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release(&self, id: &BackupId) -> Result<usize> {
        let store = &self.repository().store;
        let entries = list_all(store.as_ref(), &keys::holds_of(self.resource(), id)).await?;
        for entry in &entries {
            store.delete(&entry.key).await?;
        }
        Ok(entries.len())
    }

    /// All holds, those that are over included. One whose record is damaged counts for ever: its key says of which backup it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all_holds(&self) -> Result<Vec<Hold>> {
        let store = &self.repository().store;
        let mut holds = Vec::new();
        for entry in list_all(store.as_ref(), &keys::holds(self.resource())).await? {
            let read = match store.get(&entry.key).await {
                Ok(bytes) => record::open(&entry.key, &bytes).and_then(|json| record::value(&entry.key, json)),
                Err(error) if error.is_not_found() => continue,
                Err(error) => Err(error.into()),
            };
            match read {
                Ok(hold) => holds.push(hold),
                Err(error) => {
                    let damaged = Damaged::of(&entry.key, error)?;
                    holds.extend(keys::parse_hold(&entry.key).map(|id| Hold::damaged(id, &damaged, entry.modified)));
                }
            }
        }
        Ok(holds)
    }
}
