//! Two servers that wrote different WAL for the same place: recorded, so that everybody who looks learns of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::wal::WalArchive;
use super::{Listed, Result, Stored, keys};
use crate::pg::{Lsn, SegmentName};

/// WAL that was refused because it contradicts what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The segment.
    pub segment: SegmentName,
    /// The first position that differs, or the beginning of what does.
    pub at: Lsn,
    /// The object that was there.
    pub stored: String,
    /// The server whose WAL was refused, as far as that is known.
    pub refused: String,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

impl Conflict {
    /// What it is called: its segment.
    #[must_use]
    pub fn name(&self) -> String {
        self.segment.to_string()
    }
}

impl WalArchive {
    /// Records a conflict. Another one in the same segment is no news.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub async fn put_conflict(&self, conflict: &Conflict) -> Result<Stored> {
        self.put_record(&keys::conflict(self.resource(), self.system_id(), conflict.segment), conflict).await
    }

    /// All recorded conflicts, by segment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn conflicts(&self) -> Result<Listed<Conflict>> {
        self.records(&keys::conflicts(self.resource(), self.system_id())).await
    }
}
