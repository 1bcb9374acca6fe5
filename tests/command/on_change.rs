//! Output that the agent stores when it differs.

use std::process::Command;
use std::time::Duration;

use pg_fixtures::{FreePort, poll};

use super::site::{Running, SECRETS, Site};

const WITHIN: Duration = Duration::from_secs(60);

fn site(more: &str) -> (Site, FreePort) {
    let port = FreePort::take();
    let site = Site::new(&format!(
        "on_change = \"1s\"\n{more}\n[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"agent.sock\"",
        port.number()
    ));
    (site, port)
}

impl Site {
    fn wait_for(&self, agent: &Running, backups: usize) {
        let taken = poll::try_until(WITHIN, || self.listed() >= backups);
        assert!(taken, "{} instead of {backups} backups; the agent's log:\n{}", self.listed(), agent.log());
        assert_eq!(self.listed(), backups);
    }

    fn newest(&self) -> String {
        self.run(&["restore", "command/secrets", "--to", "-", "--quiet"])
    }
}

#[test]
fn output_is_stored_when_it_differs_and_only_then() {
    let (site, _port) = site("");
    let agent = site.agent();
    site.wait_for(&agent, 1);
    let looked = || agent.log().matches("nothing has changed since").count();
    poll::until(WITHIN, "it is looked at again and again", || looked() >= 3);
    let changed = SECRETS.replace("bWFy", "bWFz");
    site.prints(&changed);
    site.wait_for(&agent, 2);
    assert_eq!(site.newest(), changed);
    let before = looked();
    poll::until(WITHIN, "nothing has changed since", || looked() > before);
    assert_eq!((site.listed(), site.stored().len()), (2, 4));
}

#[test]
fn a_program_that_fails_is_run_again_and_what_it_wrote_is_not_stored() {
    let (site, port) = site("");
    let agent = site.agent();
    site.wait_for(&agent, 1);
    site.does("echo half an output; echo \"password: not-given-to-it\" >&2; exit 3");
    poll::until(WITHIN, "the failure is known", || site.run(&["status"]).contains("FAILED (attempt 1)"));
    let checked = String::from_utf8_lossy(&site.try_run(&["check"]).stdout).into_owned();
    assert!(checked.contains("WARNING   command/secrets: the last backup") && checked.contains("exit status: 3"), "{checked}");
    assert_eq!((site.listed(), site.stored().len()), (1, 2));
    // What it said can be secret: it is in the log, and nowhere else.
    assert!(agent.log().contains("not-given-to-it") && checked.contains("what it said is in the agent's log"), "{checked}");
    let live = Command::new("curl").args(["-s", &format!("http://127.0.0.1:{}/status", port.number())]).output().expect("ask");
    let live = String::from_utf8_lossy(&live.stdout).into_owned();
    assert!(live.contains("what it said is in the agent's log"), "{live}");
    let repository = site.scratch.path().join("repository");
    let stored = Command::new("grep").args(["-r", "-a", "-l", "not-given-to-it"]).arg(repository).output().expect("run grep");
    for shown in [&checked, &live, &site.run(&["status"]), &String::from_utf8_lossy(&stored.stdout).into_owned()] {
        assert!(!shown.contains("not-given-to-it") && !shown.contains("/runs/"), "{shown}");
    }
    // It is tried again half a minute later.
    site.prints("mended\n");
    site.wait_for(&agent, 2);
    assert_eq!(site.newest(), "mended\n");
    assert!(!site.run(&["status"]).contains("FAILED"));
}
