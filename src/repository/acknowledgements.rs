//! What an operator has taken note of: the record stays, the alarm ends.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::wal::WalArchive;
use super::{Conflict, Gap, Listed, Result, Stored, keys};
use crate::sys::clock;

/// That somebody has taken note of a gap or a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// What the gap or conflict is called.
    pub name: String,
    /// When.
    pub acknowledged_at: Timestamp,
}

impl WalArchive {
    /// Records that somebody has taken note of a gap.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn acknowledge_gap(&self, gap: &Gap) -> Result<Stored> {
        self.acknowledge(gap.name()).await
    }

    /// Records that somebody has taken note of a conflict.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn acknowledge_conflict(&self, conflict: &Conflict) -> Result<Stored> {
        self.acknowledge(conflict.name()).await
    }

    async fn acknowledge(&self, name: String) -> Result<Stored> {
        let key = keys::acknowledgement(self.resource(), self.system_id(), &name);
        self.put_record(&key, &Acknowledgement { name, acknowledged_at: clock::now() }).await
    }

    /// What somebody has taken note of.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn acknowledgements(&self) -> Result<Listed<Acknowledgement>> {
        self.records(&keys::acknowledgements(self.resource(), self.system_id())).await
    }
}
