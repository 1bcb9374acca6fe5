//! What the agent tells about itself: the document behind `/status`, `/healthz` and `/metrics`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::scheduler::{JobStatus, KeptStatus};
use crate::repository::ResourceName;
use crate::resources::postgres::archive::ReceiverStatus;

/// The state of the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentStatus {
    /// The version of the program.
    pub version: String,
    /// Where its repository lies. Of several agents on one host one has the address, and answers whoever asks there.
    #[serde(default)]
    pub repository: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When this was written.
    pub at: Timestamp,
    /// Its resident memory.
    pub resident_bytes: Option<u64>,
    /// What does not work, one sentence each; empty if all is well.
    pub ailments: Vec<String>,
    /// The clusters whose WAL is streamed.
    pub clusters: Vec<ReceiverStatus>,
    /// What is done of itself.
    #[serde(default)]
    pub jobs: Vec<JobStatus>,
    /// What is kept of each resource.
    #[serde(default)]
    pub kept: Vec<KeptStatus>,
}

impl AgentStatus {
    /// The state at `at`.
    #[must_use]
    pub fn new(
        repository: String,
        started_at: Timestamp,
        at: Timestamp,
        resident_bytes: Option<u64>,
        clusters: Vec<ReceiverStatus>,
        jobs: Vec<JobStatus>,
        kept: Vec<KeptStatus>,
    ) -> Self {
        let ailing = clusters.iter().filter_map(|cluster| cluster.ailment(at));
        let ailments = ailing.chain(jobs.iter().filter_map(JobStatus::ailment)).collect();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            repository,
            started_at,
            at,
            resident_bytes,
            ailments,
            clusters,
            jobs,
            kept,
        }
    }

    /// How the WAL of a cluster comes in, if it is streamed.
    #[must_use]
    pub fn receiver(&self, resource: &ResourceName) -> Option<&ReceiverStatus> {
        self.clusters.iter().find(|receiver| receiver.resource == resource.to_string())
    }

    /// Whether everything does its work.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        self.ailments.is_empty()
    }
}
