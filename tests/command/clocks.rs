//! Hosts whose clocks are wrong.

use std::sync::Arc;
use std::time::Duration;

use holdfast::codec::Compression;
use holdfast::repository::{BackupEntry, BackupId, Job, JobRun, Outcome, Repository, ResourceName};
use holdfast::storage::FileStore;
use jiff::{SignedDuration, Timestamp};
use pg_fixtures::{FreePort, poll};
use tokio::runtime::Runtime;

use super::site::{SECRETS, Site};

const WITHIN: Duration = Duration::from_secs(60);
const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A host whose clock is a year ahead, as it leaves a repository behind.
struct Fast<'a> {
    site: &'a Site,
    runtime: Runtime,
    resource: ResourceName,
}

impl<'a> Fast<'a> {
    fn new(site: &'a Site) -> Self {
        let resource = "command/secrets".parse().expect("a name");
        Self { site, runtime: Runtime::new().expect("a runtime"), resource }
    }

    async fn repository(&self) -> Repository {
        let store = FileStore::create(&self.site.scratch.path().join("repository")).await.expect("the store");
        Repository::open(Arc::new(store), Compression::default()).await.expect("the repository")
    }

    /// Lists a backup that a host took just now whose clock is five hours behind: its id tells the store's time.
    fn lists_of_a_slow_host(&self, like: &str) -> String {
        self.runtime.block_on(async {
            let backups = self.repository().await.backups(&self.resource);
            let like: BackupEntry = backups.get(&like.parse().expect("an id")).await.expect("the catalog").expect("the backup");
            let begun = Timestamp::now() + SignedDuration::from_secs(1);
            let (started_at, id) = (begun - SignedDuration::from_hours(5), BackupId::new(begun, 1));
            backups.put(&BackupEntry { id: id.clone(), started_at, finished_at: started_at, ..like }).await.expect("list it");
            id.to_string()
        })
    }

    /// The ids of all backups, the oldest first.
    fn ids(&self) -> Vec<String> {
        let ids = self.runtime.block_on(async { self.repository().await.backups(&self.resource).ids().await });
        ids.expect("the catalog").iter().map(ToString::to_string).collect()
    }

    /// Lists a backup that it took just now; what is in it is that of backup `like`.
    fn lists(&self, like: &str) -> String {
        self.runtime.block_on(async {
            let backups = self.repository().await.backups(&self.resource);
            let like: BackupEntry = backups.get(&like.parse().expect("an id")).await.expect("the catalog").expect("the backup");
            let (started_at, finished_at) = (like.started_at + YEAR, like.finished_at + YEAR);
            let id = BackupId::new(started_at, 1);
            backups.put(&BackupEntry { id: id.clone(), started_at, finished_at, ..like }).await.expect("list it");
            id.to_string()
        })
    }

    /// Writes into the history that a job was done.
    fn did(&self, job: Job, seconds: i64) {
        let due_at = Timestamp::now() + YEAR + SignedDuration::from_secs(seconds);
        let outcome = Outcome::Done { backup: None, remark: "done".to_owned() };
        let run = JobRun { job, due_at, attempt: 1, started_at: due_at, took_ms: 1, host: "fast".to_owned(), outcome };
        self.runtime.block_on(async { self.repository().await.put_run(&self.resource, &run).await.expect("a record") });
    }
}

#[test]
fn an_agent_whose_clock_was_fast_stops_no_backup_and_does_not_make_retention_run_without_pause() {
    let port = FreePort::take();
    let agent = format!("[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"agent.sock\"", port.number());
    let site = Site::new(&format!("schedule = \"* * * * * *\"\nkeep = {{ last = 50 }}\n{agent}"));
    let first = site.json(&["backup", "command/secrets"])["id"].as_str().expect("an id").to_owned();
    let fast = Fast::new(&site);
    fast.lists(&first);
    // More than the history holds of a job.
    for second in 0..60 {
        fast.did(Job::Backup, second);
        fast.did(Job::Expire, second);
    }
    let agent = site.agent();
    let taken = poll::try_until(WITHIN, || site.listed() >= 5);
    assert!(taken, "{} backups; the agent's log:\n{}", site.listed(), agent.log());
    let (log, count) = (agent.log(), site.listed());
    // Once in the beginning and once after each backup.
    assert!(log.matches("the expire is done").count() <= count, "{count} backups; the agent's log:\n{log}");
    let checked = String::from_utf8_lossy(&site.try_run(&["check"]).stdout).into_owned();
    assert!(checked.contains("WARNING   command/secrets: backup") && checked.contains("lies in the future"), "{checked}");
}

#[test]
fn a_backup_of_the_future_is_not_the_newest_for_ever_and_never_taken_without_being_asked_for() {
    let site = Site::new("");
    let first = site.json(&["backup", "command/secrets"])["id"].as_str().expect("an id").to_owned();
    let ahead = Fast::new(&site).lists(&first);
    let said = site.refusal(&["restore", "command/secrets", "--to", "-"]);
    assert!(said.contains(&ahead) && said.contains("choose one with --backup"), "{said}");
    assert_eq!(site.run(&["restore", "command/secrets", "--backup", &first, "--to", "-"]), SECRETS);
    site.prints("of today\n");
    let taken = site.json(&["backup", "command/secrets", "--only-changes"])["id"].clone();
    assert_eq!(site.json(&["backup", "command/secrets", "--only-changes"])["unchanged_since"], taken);
    let restored = site.try_run(&["restore", "command/secrets", "--to", "-"]);
    assert_eq!(String::from_utf8_lossy(&restored.stdout), "of today\n");
    let said = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(said.contains(&format!("backup {ahead} says that it was begun at")), "{said}");
}

#[test]
fn the_newest_backup_is_kept_though_the_clock_of_its_host_was_behind() {
    let site = Site::new("keep = { last = 2 }");
    let taken = ["one\n", "two\n"].map(|content| {
        site.prints(content);
        site.json(&["backup", "command/secrets"])["id"].as_str().expect("an id").to_owned()
    });
    let catalog = Fast::new(&site);
    let slow = catalog.lists_of_a_slow_host(&taken[1]);
    assert_eq!(catalog.ids().last(), Some(&slow));
    let checked = String::from_utf8_lossy(&site.try_run(&["check"]).stdout).into_owned();
    assert!(checked.contains(&slow) && checked.contains("s behind the store's"), "{checked}");
    site.run(&["expire", "command/secrets"]);
    assert_eq!(catalog.ids(), [taken[1].clone(), slow]);
}
