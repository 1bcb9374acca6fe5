//! Trees that the agent backs up when they change.

use std::fs;
use std::time::Duration;

use pg_fixtures::{FreePort, poll};

use super::site::{Running, Site, portrait};

/// A change is noticed at once; then the burst has to be over, and the backup be taken.
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// A site that is backed up on change, with a few files in it.
fn site(more: &str) -> (Site, FreePort) {
    let (site, port) = (Site::new(""), FreePort::take());
    configure(&site, &port, more);
    site.write("a", "1");
    site.write("sub/b", "1");
    (site, port)
}

fn configure(site: &Site, port: &FreePort, more: &str) {
    let agent = format!(
        "[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{}\"",
        port.number(),
        site.scratch.path().join("agent.sock").display()
    );
    site.configure(&format!("on_change = true\n{more}\n{agent}"));
}

impl Site {
    fn wait_for(&self, agent: &Running, backups: usize) {
        let taken = poll::try_until(STORED_WITHIN, || self.listed() >= backups);
        assert!(taken, "{} instead of {backups} backups; the agent's log:\n{}", self.listed(), agent.log());
        assert_eq!(self.listed(), backups);
    }

    /// What the newest backup brings back.
    fn restored(&self, name: &str) -> String {
        let (to, tree) = self.target(name);
        self.run(&["restore", "files/tree", "--to", &to, "--apply"]);
        portrait(&tree)
    }
}

#[test]
fn every_change_is_stored_within_seconds_and_nothing_without_one() {
    let (site, port) = site("exclude = [\"*.tmp\"]");
    let agent = site.agent("agent");
    site.wait_for(&agent, 1);
    let changes: [&dyn Fn(); 5] = [
        &|| drop(site.write("a", "2")),
        &|| {
            site.write("new.tmp", "renamed into place");
            fs::rename(site.tree.join("new.tmp"), site.tree.join("a")).expect("rename");
        },
        &|| fs::create_dir_all(site.tree.join("new/deeper")).expect("create directories"),
        &|| drop(site.write("new/deeper/c", "in a directory that was not there")),
        &|| fs::remove_file(site.tree.join("sub/b")).expect("remove"),
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        site.wait_for(&agent, number + 2);
    }
    // What is left out is no change; the one that follows is the only one that is stored.
    site.write("ignored.tmp", "1");
    site.write("sub/d", "1");
    site.wait_for(&agent, 7);
    let all = portrait(&site.tree);
    let expected: Vec<&str> = all.lines().filter(|line| !line.contains("ignored.tmp")).collect();
    assert_eq!(site.restored("restored").lines().collect::<Vec<_>>(), expected);
    let status = site.run(&["status"]);
    assert!(status.contains("backed up as soon as it changes"), "{status}");
    let checked = site.run(&["check"]);
    assert!(checked.contains("ok        files/tree: it is backed up as soon as it changes"), "{checked}");
    drop(port);
}

#[test]
fn a_burst_of_changes_makes_at_most_two_backups() {
    let (site, _port) = site("");
    let agent = site.agent("agent");
    site.wait_for(&agent, 1);
    for number in 0..100 {
        site.write(&format!("burst/{}", number % 7), number.to_string());
        std::thread::sleep(Duration::from_millis(10)); // the burst lasts a second
    }
    let expected = portrait(&site.tree);
    let mut tries = 0;
    let mut stored = || {
        tries += 1;
        site.listed() > 1 && site.restored(&format!("try-{tries}")) == expected
    };
    assert!(poll::try_until(STORED_WITHIN, &mut stored), "the agent's log:\n{}", agent.log());
    assert!(site.listed() <= 3, "{} backups", site.listed());
}

#[test]
fn what_changed_while_no_agent_ran_is_stored_when_it_begins() {
    let (site, _port) = site("");
    let agent = site.agent("agent");
    site.wait_for(&agent, 1);
    drop(agent);
    site.write("a", "changed meanwhile");
    let agent = site.agent("again");
    site.wait_for(&agent, 2);
    assert_eq!(site.restored("restored"), portrait(&site.tree));
    drop(agent);
    // And nothing where nothing has changed: the change after it is the third.
    let agent = site.agent("once-more");
    poll::until(STORED_WITHIN, "it looks", || agent.log().contains("nothing has changed since"));
    site.write("a", "3");
    site.wait_for(&agent, 3);
}

#[test]
fn where_the_system_has_no_more_watches_it_is_said_and_the_trees_are_looked_at_all_the_same() {
    let (site, _port) = site("");
    let Some(agent) = site.agent_without_watches("agent") else {
        println!("LEFT OUT: this system makes no namespaces of users");
        return;
    };
    site.wait_for(&agent, 1);
    let said = poll::try_until(STORED_WITHIN, || agent.log().contains("raise fs.inotify.max_user_watches"));
    assert!(said && agent.log().contains("are looked at every 15 minutes instead"), "{}", agent.log());
    drop(agent);
    site.write("a", "2");
    let agent = site.agent_without_watches("again").expect("as before");
    site.wait_for(&agent, 2);
}

#[test]
fn of_two_agents_one_stores_a_change() {
    let (site, port) = site("");
    let first = site.agent("first");
    site.wait_for(&first, 1);
    configure(&site, &FreePort::take(), "");
    let second = site.agent("second");
    poll::until(STORED_WITHIN, "the second looks", || second.log().contains("nothing has changed since"));
    for number in 2..5 {
        site.write("a", number.to_string());
        site.wait_for(&first, number);
    }
    let looked = || [&first, &second].iter().map(|agent| agent.log().matches("nothing has changed since").count()).sum::<usize>();
    poll::until(STORED_WITHIN, "the one that was slower finds nothing", || looked() >= 2);
    assert_eq!(site.listed(), 4);
    drop(port);
}
