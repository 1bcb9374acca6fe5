//! Standbys, promotion, and copies made with PostgreSQL's own tools.

use std::path::Path;
use std::time::Duration;

use super::Cluster;
use crate::Scratch;

const PROMOTION: Duration = Duration::from_secs(60);

impl Cluster {
    /// A standby that streams from this cluster, made with `pg_basebackup`, running.
    ///
    /// # Panics
    /// When it cannot be made, with the output of `pg_basebackup`.
    #[must_use]
    pub fn standby(&self) -> Self {
        let scratch = Scratch::new();
        let data_directory = scratch.new_directory("data");
        self.pg_basebackup(&data_directory, &["--write-recovery-conf"]);
        let standby = Self::new(self.installation().clone(), scratch, data_directory, vec![]);
        standby.start();
        standby
    }

    /// Copies the cluster into an empty directory with `pg_basebackup`, WAL included.
    ///
    /// # Panics
    /// When it fails, with its output.
    pub fn pg_basebackup(&self, directory: &Path, arguments: &[&str]) {
        let directory = format!("--pgdata={}", directory.display());
        let mut all = vec![directory.as_str(), "--checkpoint=fast", "--no-sync"];
        all.extend(arguments);
        self.run("pg_basebackup", &all);
    }

    /// Makes a standby a primary, and waits until it is one.
    ///
    /// # Panics
    /// When the server is not a standby or is not promoted in time.
    pub fn promote(&self) {
        let directory = format!("--pgdata={}", self.data_directory().display());
        self.run("pg_ctl", &["promote", "--wait", &directory]);
        self.wait_until(PROMOTION, "the standby is promoted", || {
            self.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
        });
    }

    /// Waits until this standby has replayed what `primary` has written so far.
    ///
    /// # Panics
    /// When the deadline passes first.
    pub fn wait_for_replay_of(&self, primary: &Self, deadline: Duration) {
        let question = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", primary.lsn());
        self.wait_until(deadline, "the standby catches up", || self.try_sql("postgres", &question).as_deref() == Ok("t"));
    }
}
