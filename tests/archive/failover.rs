//! The death of a primary whose commits wait for the agent, and the standby that takes its place, wherever that one stood.

use std::path::Path;

use holdfast::pg::{Lsn, TimelineId};
use pg_fixtures::Scratch;
use pg_fixtures::checksum::{Checksums, Moment};
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

use crate::clients::{Clients, Confirmed};
use crate::promotion::{both, history_is_stored, left_behind, switch_of};
use crate::site::{DEADLINE, Site, end_of_wal, server};

/// Where the standby stands when the primary dies, seen from what is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standby {
    /// It lacks commits that were confirmed: only the agent had to have them.
    Behind,
    /// It has every commit that was confirmed, as the agent has: both had to.
    Level,
    /// It has WAL that the agent, which is down, has not.
    Ahead,
    /// The same, and it has removed that WAL when the agent comes back.
    AheadAndForgetful,
}

/// A primary whose commits wait for the agent, its standby, both of them in the agent's conninfo, and clients.
struct Pair {
    site: Site,
    primary: Cluster,
    standby: Cluster,
    clients: Clients,
}

impl Pair {
    fn start(waited_for: &str) -> Self {
        let primary = server(&Installation::newest()).setting("max_wal_size", "64MB").start();
        primary.pgbench(&["-i", "-s", "1", "-q"]);
        let standby = primary.standby();
        let store = "url = \"file://{scratch}/store\"";
        let site = Site::with_store(store, &both(&primary, &standby), "synchronous = true");
        site.holdfast.start_agent();
        site.wait_for(end_of_wal(&primary));
        for (cluster, names) in [(&primary, waited_for), (&standby, "holdfast")] {
            cluster.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
            cluster.reload();
        }
        let synchronous = || primary.sql("SELECT bool_or(sync_state IN ('sync', 'quorum')) FROM pg_stat_replication") == "t";
        site.holdfast.wait_until(DEADLINE, "the agent is waited for", synchronous);
        let clients = Clients::start(&primary, 3);
        site.holdfast.run(&["backup", "postgres/main"]);
        Self { site, primary, standby, clients }
    }

    fn more_is_confirmed(&self) {
        let before = self.clients.confirmed().len();
        self.site.holdfast.wait_until(DEADLINE, "more is confirmed", || self.clients.confirmed().len() > before + 100);
    }

    /// Kills the primary and promotes the standby; what the primary had confirmed.
    fn fail_over(&self, standby: Standby) -> Vec<Confirmed> {
        match standby {
            Standby::Behind => {
                self.standby.stop(StopMode::Fast);
                self.more_is_confirmed();
            }
            Standby::Level => self.more_is_confirmed(),
            Standby::Ahead | Standby::AheadAndForgetful => {
                self.site.holdfast.kill9();
                // Nothing is confirmed from here on, and the standby has all of it.
                self.primary.sql("SELECT pg_logical_emit_message(false, 'ahead', repeat('x', 100000))");
                self.primary.switch_wal();
                self.primary.sql("SELECT pg_logical_emit_message(false, 'ahead', repeat('x', 100000))");
                self.standby.wait_for_replay_of(&self.primary, DEADLINE);
            }
        }
        self.primary.kill9();
        if !self.standby.is_running() {
            self.standby.start();
        }
        self.standby.promote();
        self.clients.confirmed()
    }

    /// Waits until the agent streams from the promoted server, through a slot of its own there.
    fn agent_follows(&self) {
        self.site.holdfast.wait_until(DEADLINE, "the agent follows", || {
            self.site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(2)))
        });
        let slot = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'holdfast' AND active";
        self.site.holdfast.wait_until(DEADLINE, "it has a slot there", || self.standby.sql(slot) == "1");
        // This commit waits for the agent too, and returns.
        self.standby.sql("INSERT INTO marks VALUES (100, 1, 'after')");
        self.site.wait_for(end_of_wal(&self.standby));
        history_is_stored(&self.site, &self.standby, 2);
    }

    fn left_behind(&self) -> Vec<u64> {
        left_behind(&self.site)
    }

    fn gaps(&self) -> usize {
        self.site.runtime.block_on(self.site.archive.gaps()).expect("the gaps").records.len()
    }

    fn restored(&self, scratch: &Scratch, name: &str, arguments: &[&str]) -> Cluster {
        restored(&self.site, &self.standby, &scratch.path().join(name), arguments)
    }
}

/// Restores with these arguments, with the programs of `cluster`, and starts what was restored.
pub fn restored(site: &Site, cluster: &Cluster, to: &Path, arguments: &[&str]) -> Cluster {
    let programs = cluster.program("postgres");
    let programs = programs.parent().expect("a program lies in a directory").display().to_string();
    let path = to.display().to_string();
    let mut all = vec!["restore", "postgres/main", "--to", &path, "--programs", &programs];
    all.extend(arguments);
    site.holdfast.run(&all);
    let restored = Cluster::builder(cluster.installation()).start_existing(to);
    restored.wait_until(DEADLINE, "recovery ends", || {
        restored.try_sql("postgres", "SELECT pg_is_in_recovery()").as_deref() == Ok("f")
    });
    restored
}

/// How many of these commits a cluster lacks.
fn lacking(cluster: &Cluster, confirmed: &[Confirmed]) -> usize {
    let found = cluster.sql("SELECT client, number FROM marks");
    let found: std::collections::BTreeSet<&str> = found.lines().collect();
    confirmed.iter().filter(|mark| !found.contains(format!("{}|{}", mark.client, mark.number).as_str())).count()
}

#[test]
fn a_standby_that_is_behind_makes_a_dead_fork_and_every_confirmed_commit_is_in_it() {
    let pair = Pair::start("holdfast");
    let before = Moment::mark(&pair.primary, "before the fork");
    pair.standby.wait_for_replay_of(&pair.primary, DEADLINE);
    let confirmed = pair.fail_over(Standby::Behind);
    pair.agent_follows();
    let fork = switch_of(&pair.standby, 2);
    let lost = confirmed.iter().filter(|mark| mark.flushed > fork).count();
    assert!(lost > 0 && lacking(&pair.standby, &confirmed) > 0, "the standby was behind");
    assert_eq!(pair.left_behind(), [1]);
    let scratch = Scratch::new();
    let plan = pair.site.holdfast.run(&["restore", "--to", &scratch.path().join("plan").display().to_string(), "--dry-run"]);
    assert!(plan.contains("timeline 1 was left at") && plan.contains("--target-timeline 1"), "{plan}");
    let old = pair.restored(&scratch, "old", &["--target-timeline", "1"]);
    assert_eq!(
        lacking(&old, &confirmed),
        0,
        "of {} commits that were confirmed, {lost} of them behind the fork",
        confirmed.len()
    );
    let new = pair.restored(&scratch, "new", &[]);
    assert_eq!(Checksums::of(&new), Checksums::of(&pair.standby));
    let moment = pair.restored(&scratch, "moment", &["--target-lsn", &before.lsn]);
    assert_eq!(Checksums::of(&moment), before.checksums);
}

#[test]
fn a_standby_that_has_what_was_confirmed_is_followed_and_nothing_is_lost() {
    let pair = Pair::start("ANY 2 (holdfast, walreceiver)");
    let confirmed = pair.fail_over(Standby::Level);
    pair.agent_follows();
    assert_eq!(pair.gaps(), 0);
    let scratch = Scratch::new();
    let new = pair.restored(&scratch, "new", &[]);
    assert_eq!((lacking(&new, &confirmed), new.sql("SELECT count(*) FROM marks WHERE client = 100")), (0, "1".into()));
    assert_eq!(Checksums::of(&new), Checksums::of(&pair.standby));
}

/// Whoever looks after failovers may keep a slot on the standby that follows the primary's.
#[test]
fn a_slot_that_the_promoted_standby_had_before_leads_to_its_new_timeline() {
    let pair = Pair::start("holdfast");
    pair.primary.sql("CHECKPOINT");
    pair.standby.wait_for_replay_of(&pair.primary, DEADLINE);
    pair.standby.sql("CHECKPOINT");
    // It stands in the segment in which the standby is promoted, as a rule, and what the agent has stored of that goes further.
    pair.standby.sql("SELECT pg_create_physical_replication_slot('holdfast', true)");
    let confirmed = pair.fail_over(Standby::Behind);
    pair.agent_follows();
    let fork = switch_of(&pair.standby, 2);
    assert!(confirmed.iter().any(|mark| mark.flushed > fork), "the standby was behind");
    assert_eq!(pair.gaps(), 0);
    let scratch = Scratch::new();
    let new = pair.restored(&scratch, "new", &[]);
    assert_eq!(Checksums::of(&new), Checksums::of(&pair.standby));
}

#[test]
fn what_the_promoted_standby_has_of_the_old_timeline_is_stored_from_there() {
    let pair = Pair::start("holdfast");
    let confirmed = pair.fail_over(Standby::Ahead);
    pair.site.holdfast.start_agent();
    pair.agent_follows();
    let fork = switch_of(&pair.standby, 2);
    assert!(pair.site.content(TimelineId(1)).end_from(Lsn(fork.0 - 1)) >= fork, "the old timeline is stored up to the fork");
    assert_eq!((pair.gaps(), pair.left_behind()), (0, vec![]));
    let scratch = Scratch::new();
    let new = pair.restored(&scratch, "new", &[]);
    assert_eq!(lacking(&new, &confirmed), 0);
    assert_eq!(Checksums::of(&new), Checksums::of(&pair.standby));
}

#[test]
fn what_the_promoted_standby_has_removed_is_a_gap_and_all_before_it_is_restored() {
    let pair = Pair::start("holdfast");
    pair.standby.sql("ALTER SYSTEM SET wal_keep_size = 0");
    pair.standby.reload();
    let (confirmed, moment) = (pair.clients.confirmed(), pair.primary.lsn());
    pair.more_is_confirmed();
    let all = pair.fail_over(Standby::AheadAndForgetful);
    for _ in 0..4 {
        pair.standby.switch_wal();
        pair.standby.sql("CHECKPOINT");
    }
    pair.site.holdfast.start_agent();
    pair.agent_follows();
    pair.site.holdfast.wait_until(DEADLINE, "the gap is recorded", || pair.gaps() > 0);
    let status = pair.site.holdfast.try_run(&["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.to_lowercase().contains("gap"), "{text}");
    let scratch = Scratch::new();
    let refused = pair.site.holdfast.try_run(&["restore", "--to", "/nonexistent/x", "--target-timeline", "1", "--dry-run"]);
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("WAL is missing between"), "{refused}");
    // In the middle of the segment that was being filled when the WAL was lost.
    let old = pair.restored(&scratch, "old", &["--target-lsn", &moment, "--target-timeline", "1"]);
    assert_eq!(lacking(&old, &confirmed), 0);
    let last = refused.split("--target-lsn ").nth(1).and_then(|rest| rest.split(' ').next());
    let last = last.unwrap_or_else(|| panic!("where the gap begins is said: {refused}"));
    let edge = pair.restored(&scratch, "edge", &["--target-lsn", last, "--target-timeline", "1"]);
    assert_eq!(lacking(&edge, &all), 0);
}
