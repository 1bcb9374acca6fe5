//! Backups and retention of themselves: on time, once whoever runs, by the next agent when one dies, as the configuration says now.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use holdfast::repository::{Job, JobRun, Repository};
use holdfast::storage::{FileStore, Store};
use pg_fixtures::agent::Holdfast;
use pg_fixtures::poll;
use pg_fixtures::postgres::{Cluster, Installation};

use crate::site::{DEADLINE, Site, server};

/// Every few seconds, and little is kept.
const OFTEN: &str = "schedule = \"*/3 * * * * *\"\nkeep = { last = 2 }\n";
const STORE: &str = "url = \"file://{scratch}/store\"\nlease = \"2s\"";

impl Site {
    fn repository(&self) -> Repository {
        let store = std::sync::Arc::new(self.runtime.block_on(FileStore::open(&self.store())).expect("a store"));
        let store: std::sync::Arc<dyn Store> = store;
        let opened = Repository::open(store, holdfast::codec::Compression::default());
        self.runtime.block_on(opened).expect("a repository")
    }

    fn runs(&self, job: Job) -> Vec<JobRun> {
        self.runtime.block_on(self.repository().runs(self.archive.resource(), job, 1000)).expect("a history")
    }

    fn done(&self) -> usize {
        self.runs(Job::Backup).iter().filter(|run| run.succeeded()).count()
    }

    fn wait_for_backups(&self, count: usize) {
        let taken = || self.done() >= count;
        self.holdfast.wait_until(DEADLINE, &format!("{count} scheduled backups"), taken);
    }

    fn listed(&self) -> usize {
        let backups = self.repository().backups(self.archive.resource());
        self.runtime.block_on(backups.list()).expect("a catalog").records.len()
    }
}

#[test]
fn of_two_agents_one_does_what_is_due_and_the_other_when_that_one_dies() {
    let cluster: Cluster = server(&Installation::newest()).start();
    let site = Site::with_store(STORE, &cluster.conninfo(), OFTEN);
    let second = site.second_agent(&cluster);
    let text = std::fs::read_to_string(second.configuration()).expect("a configuration");
    let text = text.replace(".agent.sock", ".second.sock").replace("conninfo =", &format!("stream = false\n{OFTEN}conninfo ="));
    second.configure(&text.replace("/store\"", "/store\"\nlease = \"2s\""));
    site.holdfast.start_agent();
    second.start_agent();
    site.wait_for_backups(4);
    let runs = site.runs(Job::Backup);
    let due: BTreeSet<_> = runs.iter().map(|run| run.due_at).collect();
    assert_eq!(due.len(), runs.len(), "nothing is done twice: {runs:?}");
    assert!(runs.iter().all(JobRun::succeeded), "{runs:?}");
    site.holdfast.wait_until(DEADLINE, "retention is applied", || !site.runs(Job::Expire).is_empty() && site.listed() <= 3);

    // Whichever of the two is at it: the other goes on.
    second.kill9();
    let before = site.done();
    site.wait_for_backups(before + 2);
    let status = site.status().expect("the agent answers");
    let job = status.jobs.iter().find(|job| job.job == Job::Backup).expect("it has a schedule");
    assert!(job.next_at.is_some() && job.last.as_ref().is_some_and(JobRun::succeeded), "{job:?}");
    let text = site.holdfast.run(&["status"]);
    assert!(text.contains("next backup") && text.contains("last backup"), "{text}");
}

#[test]
fn the_agent_follows_its_configuration_and_tells_systemd() {
    let cluster: Cluster = server(&Installation::newest()).start();
    let site = Site::with_store(STORE, &cluster.conninfo(), "");
    let path = site.holdfast.scratch().path().join("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("open it to the agent");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let told = std::cell::RefCell::new(String::new());
    let hears = |word: &str| {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            told.borrow_mut().push_str(&(String::from_utf8_lossy(&bytes[..length]) + "\n"));
        }
        told.borrow().contains(word)
    };
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), "")
        .environment("NOTIFY_SOCKET", &path.display().to_string())
        .environment("WATCHDOG_USEC", "1000000");
    let text = std::fs::read_to_string(site.holdfast.configuration()).expect("a configuration");
    holdfast.configure(&text);
    holdfast.start_agent();
    poll::until(DEADLINE, "it says that it is ready and alive", || hears("READY=1") && hears("WATCHDOG=1"));
    assert_eq!(site.done(), 0, "nothing is scheduled");

    holdfast.configure(&format!("{text}schedule = \"never\"\n"));
    holdfast.hang_up();
    holdfast.wait_until(DEADLINE, "a wrong configuration is refused", || holdfast.log().contains("stays as it was"));
    holdfast.configure(&format!("{text}{OFTEN}"));
    holdfast.hang_up();
    poll::until(DEADLINE, "a backup by the new schedule", || site.done() > 0);
    assert!(hears("RELOADING=1"));
    assert!(site.receiver().is_some_and(|receiver| receiver.stored.is_some()), "the stream went on");
    assert!(holdfast.terminate().success());
    assert!(hears("STOPPING=1"));
}
