//! The program with a repository, and what it says of it.

use std::time::Duration;

use holdfast::pg::Lsn;
use pg_fixtures::FreePort;
use pg_fixtures::agent::Holdfast;
use serde_json::Value;

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A repository in a directory.
pub const DIRECTORY: &str = "url = \"file://{scratch}/store\"";

/// The program, its configuration and its repository.
pub struct Site {
    pub holdfast: Holdfast,
    conninfo: String,
    port: FreePort,
}

impl Site {
    /// With a new repository; `repository` is that part of the configuration, such as `DIRECTORY`.
    pub fn new(repository: &str, conninfo: &str) -> Self {
        let port = FreePort::take();
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(repository, conninfo, &port));
        holdfast.run(&["init"]);
        Self { holdfast, conninfo: conninfo.to_owned(), port }
    }

    /// From now on with this part of the configuration.
    pub fn configure(&self, repository: &str) {
        self.holdfast.configure(&configuration(repository, &self.conninfo, &self.port));
    }

    /// What `holdfast status` says; none while the store cannot be reached.
    pub fn status(&self) -> Option<Value> {
        let output = self.holdfast.try_run(&["status", "--output", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("status is JSON"))
    }

    /// Waits until status proves that the cluster can be recovered up to there.
    pub fn wait_until_recoverable(&self, end: Lsn) {
        let proven = || -> Option<Lsn> {
            let status = self.status()?;
            status["clusters"][0]["windows"].as_array()?.last()?["to"].as_str()?.parse().ok()
        };
        self.holdfast.wait_until(DEADLINE, &format!("the cluster is recoverable up to {end}"), || {
            proven().is_some_and(|proven| proven >= end)
        });
    }
}

fn configuration(repository: &str, conninfo: &str, port: &FreePort) -> String {
    format!(
        "[repository]\n{repository}\n[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{{scratch}}/agent.sock\"\n\
         [postgres.main]\nconninfo = \"{conninfo}\"\n",
        port.number()
    )
}
