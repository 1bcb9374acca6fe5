//! A writer that is killed between storing what is refused and taking it back: what it leaves stops everybody, and is named.

use std::os::unix::process::ExitStatusExt;

use holdfast::pg::{Lsn, TimelineId};
use holdfast::repository::{Slice, WalObject};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pg_fixtures::Scratch;
use pg_fixtures::agent::Holdfast;
use pg_fixtures::postgres::{Cluster, Installation, Load};

use crate::clones::{fork, hot_clone};
use crate::site::{DEADLINE, Site, acknowledged, end_of_wal, server};

/// Waits for so long before each slice that the test can stop the process there.
const WAITING: &str = "put.before .slices/ 0 wait:3000";

/// The slices that hold other bytes than a server has.
fn contradicting(site: &Site, cluster: &Cluster) -> Vec<Slice> {
    let differs = |slice: &Slice| {
        let stored = site.runtime.block_on(site.archive.get_slice(slice)).expect("a sound slice").expect("a slice").1;
        let path = cluster.data_directory().join(format!("pg_wal/{}", slice.segment));
        let start = usize::try_from(slice.bytes.start).expect("an offset");
        std::fs::read(path).expect("the server's segment")[start..start + stored.len()] != stored[..]
    };
    let slice = |object: WalObject| if let WalObject::Slice(slice) = object { Some(slice) } else { None };
    site.stored(TimelineId(1)).into_iter().filter_map(|it| slice(it.object)).filter(differs).collect()
}

fn signal(agent: &Holdfast, signal: Signal) {
    kill(Pid::from_raw(agent.agent_pid().expect("the agent runs")), signal).expect("signal the agent");
}

/// Two copies of a cluster write one segment. The second one's agent has found nothing that contradicts its first slice, and is halted before
/// it puts that; the first one's are stored meanwhile. That agent, and where the copies differ.
fn overtaken(site: &Site, cluster: &Cluster, clone: &Cluster, fail_points: &str) -> (Holdfast, Lsn) {
    let common = end_of_wal(cluster);
    let loads = [cluster, clone].map(|cluster| cluster.pgbench_background(&["-c", "1", "-R", "40", "-T", "600"]));
    let late = site.second_agent(clone).environment("HOLDFAST_FAIL_POINTS", fail_points);
    late.start_agent();
    site.holdfast.wait_until(DEADLINE, "the clone's slice is on its way", || late.log().contains("a fail point waits"));
    signal(&late, Signal::SIGSTOP);
    let fork = fork(cluster, clone, common);
    site.holdfast.start_agent();
    let told = || acknowledged(cluster) > Some(Lsn(fork.0 + 1000));
    site.holdfast.wait_until(DEADLINE, "the first one's slices are acknowledged", told);
    loads.into_iter().for_each(Load::stop);
    site.wait_for(end_of_wal(cluster));
    (late, fork)
}

/// The second one's agent is killed when it is about to take its slice back.
fn killed_before_the_withdrawal(site: &Site, cluster: &Cluster, clone: &Cluster) -> Lsn {
    let (late, fork) = overtaken(site, cluster, clone, &format!("{WAITING};delete.before .slices/ 0 kill"));
    signal(&late, Signal::SIGCONT);
    let ended = pg_fixtures::poll::try_for(DEADLINE, || late.ended());
    assert_eq!(ended.and_then(|status| status.signal()), Some(9), "it is killed before it takes back its slice:\n{}", late.log());
    fork
}

/// A cluster whose agent was killed, and a copy of it that runs.
fn site_and_clone(cluster: &Cluster, scratch: &Scratch) -> (Site, Cluster) {
    cluster.pgbench(&["-i", "-s", "1", "-q"]);
    let site = Site::new(cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(cluster));
    site.holdfast.kill9();
    let clone = hot_clone(cluster, scratch);
    (site, clone)
}

#[test]
fn a_conflict_that_shows_when_the_connection_is_gone_is_recorded() {
    let (cluster, scratch) = (server(&Installation::newest()).start(), Scratch::new());
    let (site, clone) = site_and_clone(&cluster, &scratch);
    let (late, _) = overtaken(&site, &cluster, &clone, WAITING);
    clone.kill9();
    signal(&late, Signal::SIGCONT);
    let conflicts = || site.runtime.block_on(site.archive.conflicts()).expect("the conflicts").records;
    late.wait_until(DEADLINE, "the conflict is recorded", || !conflicts().is_empty());
    assert_eq!(contradicting(&site, &cluster), [], "nothing of the clone's stays");
}

#[test]
fn what_a_killed_writer_could_not_take_back_stops_both_until_it_is_moved_away() {
    let (cluster, scratch) = (server(&Installation::newest()).start(), Scratch::new());
    let (site, clone) = site_and_clone(&cluster, &scratch);
    let fork = killed_before_the_withdrawal(&site, &cluster, &clone);
    let told = || acknowledged(&clone).unwrap_or_default();
    assert!(told() <= fork, "they differ from {fork} on, and the clone was told {}", told());
    let left = contradicting(&site, &cluster);
    assert_eq!(left.len(), 1, "the one slice that was not taken back: {left:?}");

    // The whole segment contradicts it, and so does whatever else is written there.
    cluster.switch_wal();
    let object = site.archive.key_of(&WalObject::Slice(left[0].clone())).to_string();
    let names = |agent: &Holdfast| agent.log().contains("contradicts what is stored") && agent.log().contains(&object);
    site.holdfast.wait_until(DEADLINE, "the first agent names it", || names(&site.holdfast));
    // So that the clone has written further than what is stored: one that is behind is refused for that.
    clone.switch_wal();
    let next_life = site.second_agent(&clone);
    next_life.start_agent();
    let refused =
        |log: String| log.contains("contradicts what is stored") || log.contains("is stored already with other content");
    next_life.wait_until(DEADLINE, "the next life is refused", || refused(next_life.log()));
    assert!(told() <= fork, "nothing of the clone's was acknowledged: it was told {}", told());
    next_life.kill9();

    std::fs::remove_file(site.store().join(&object)).expect("move the wrong one away");
    let end = end_of_wal(&cluster);
    site.wait_for(end);
    let content = site.content(TimelineId(1));
    assert!(content.end_from(end) >= end);
    content.compare(&cluster);
}
