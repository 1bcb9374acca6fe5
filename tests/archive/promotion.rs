//! Promotions: the history first, the rest of the old timeline, then the new one.

use holdfast::pg::{Lsn, TimelineId, WalFileName};
use pg_fixtures::postgres::{Cluster, Installation, StopMode};

use crate::site::{DEADLINE, Site, end_of_wal, server};

/// Where the timeline of a server left its parent.
pub fn switch_of(cluster: &Cluster, timeline: u32) -> Lsn {
    let path = cluster.data_directory().join(format!("pg_wal/{timeline:08X}.history"));
    let text = std::fs::read_to_string(path).expect("a history file");
    let last = text.lines().rfind(|line| !line.trim().is_empty()).expect("a line");
    last.split_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("a position")
}

/// Both ends of a conninfo that names two servers.
pub fn both(first: &Cluster, second: &Cluster) -> String {
    let part = |cluster: &Cluster, key: &str| {
        let conninfo = cluster.conninfo();
        let found = conninfo.split(' ').find_map(|pair| pair.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')));
        found.expect("a key of the conninfo").to_owned()
    };
    let pair = |key: &str| format!("{key}={},{}", part(first, key), part(second, key));
    format!("{} {} user=postgres dbname=postgres target_session_attrs=read-write", pair("host"), pair("port"))
}

pub fn history_is_stored(site: &Site, cluster: &Cluster, timeline: u32) {
    let name = WalFileName::History(TimelineId(timeline));
    let stored = site.runtime.block_on(site.archive.get_file(name)).expect("a sound object").expect("the history is stored").1;
    let theirs = std::fs::read(cluster.data_directory().join(format!("pg_wal/{name}"))).expect("the server's history");
    assert_eq!(stored, theirs, "{name}");
}

/// The timelines of which `status` tells that they were left, and that WAL from behind that place is stored.
pub fn left_behind(site: &Site) -> Vec<u64> {
    let status: serde_json::Value = serde_json::from_str(&site.holdfast.run(&["status", "--output", "json"])).expect("JSON");
    let forks = status["clusters"][0]["left_behind"].as_array().expect("a list");
    forks.iter().filter_map(|fork| fork["timeline"].as_u64()).collect()
}

#[test]
fn a_promotion_while_streaming_is_followed() {
    for installation in Installation::all() {
        println!("PostgreSQL {}", installation.version());
        let primary = server(&installation).start();
        primary.pgbench(&["-i", "-s", "1", "-q"]);
        let standby = primary.standby();
        let site = Site::with_store("url = \"file://{scratch}/store\"", &standby.conninfo(), "");
        site.holdfast.start_agent();
        primary.pgbench(&["-c", "2", "-t", "200"]);
        standby.wait_for_replay_of(&primary, DEADLINE);
        site.wait_for(end_of_wal(&primary));
        standby.promote();
        standby.pgbench(&["-c", "2", "-t", "200"]);
        let end = end_of_wal(&standby);
        site.holdfast.wait_until(DEADLINE, "the new timeline is stored", || {
            site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(2)) && status.stored >= Some(end))
        });
        let switch = switch_of(&standby, 2);
        let (old, new) = (site.content(TimelineId(1)), site.content(TimelineId(2)));
        assert!(old.end_from(Lsn(switch.0 - 1)) >= switch, "the old timeline is stored to its end");
        assert!(new.end_from(switch) >= end);
        println!("{} and {} bytes are the same", old.compare_before(&primary, switch), new.compare(&standby));
        history_is_stored(&site, &standby, 2);
        assert!(site.receiver().is_some_and(|status| status.gaps.is_empty() && status.warnings.is_empty()));
    }
}

#[test]
fn promotions_that_were_missed_are_made_up_for() {
    let installation = Installation::newest();
    let primary = server(&installation).start();
    primary.pgbench(&["-i", "-s", "1", "-q"]);
    let (first, second) = (primary.standby(), primary.standby());
    let site = Site::new(&primary, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&primary));
    assert!(site.holdfast.terminate().success());
    primary.pgbench(&["-c", "2", "-t", "200"]);
    first.wait_for_replay_of(&primary, DEADLINE);
    second.wait_for_replay_of(&primary, DEADLINE);
    primary.kill9();
    first.promote();
    second.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", first.conninfo()));
    second.reload();
    first.pgbench(&["-c", "2", "-t", "200"]);
    second.wait_for_replay_of(&first, DEADLINE);
    first.kill9();
    second.promote();
    second.pgbench(&["-c", "2", "-t", "200"]);
    site.configure(&second.conninfo(), "");
    site.holdfast.start_agent();
    let end = end_of_wal(&second);
    site.holdfast.wait_until(DEADLINE, "the third timeline is stored", || {
        site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(3)) && status.stored >= Some(end))
    });
    let (switch_2, switch_3) = (switch_of(&first, 2), switch_of(&second, 3));
    let [one, two, three] = [1, 2, 3].map(|timeline| site.content(TimelineId(timeline)));
    assert!(one.end_from(Lsn(switch_2.0 - 1)) >= switch_2);
    assert!(two.end_from(switch_2) >= switch_3);
    assert!(three.end_from(switch_3) >= end);
    one.compare_before(&primary, switch_2);
    two.compare_before(&first, switch_3);
    three.compare(&second);
    history_is_stored(&site, &second, 2);
    history_is_stored(&site, &second, 3);
    assert!(site.receiver().is_some_and(|status| status.gaps.is_empty()));
}

/// What `verify` says of the WAL, and how it ends.
fn verified(site: &Site, arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
    let output = site.holdfast.try_run(&[&["verify", "--output", "json", "-q"], arguments].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    (report["wal"].clone(), output.status.code())
}

#[test]
fn what_was_written_before_the_first_backup_is_not_missed_and_what_comes_after_it_is() {
    let first = server(&Installation::newest()).start();
    first.pgbench(&["-i", "-s", "1", "-q"]);
    let second = first.standby();
    second.wait_for_replay_of(&first, DEADLINE);
    second.promote();
    second.switch_wal();
    second.sql("CHECKPOINT");
    let third = second.standby();
    third.wait_for_replay_of(&second, DEADLINE);
    third.promote();
    third.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) i");
    third.switch_wal();
    third.sql("CHECKPOINT");
    let site = Site::new(&third, "");
    site.holdfast.start_agent();
    site.holdfast.run(&["backup", "-q"]);
    for arguments in [&[][..], &["--deep"]] {
        let (wal, code) = verified(&site, arguments);
        let timelines: Vec<_> = wal.as_array().expect("a list").iter().map(|wal| wal["timeline"].as_u64()).collect();
        assert_eq!((timelines, code), (vec![Some(3)], Some(0)), "{wal:#}");
    }
    history_is_stored(&site, &third, 2);
    for rows in ["1", "2"] {
        third.sql(&format!("INSERT INTO t VALUES ({rows})"));
        third.switch_wal();
    }
    let missing = third.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    third.sql("INSERT INTO t VALUES (3)");
    third.switch_wal();
    third.sql("INSERT INTO t VALUES (4)");
    site.wait_for(end_of_wal(&third));
    assert!(site.holdfast.terminate().success());
    assert_eq!(verified(&site, &[]).1, Some(0));
    let folder = site.store().join("postgres/main/wal").join(third.system_identifier()).join(&missing[..16]);
    std::fs::remove_file(folder.join(&missing)).expect("remove a segment");
    let (wal, code) = verified(&site, &[]);
    assert!(code == Some(1) && wal[0]["damage"][0]["detail"].to_string().contains("is not there"), "{wal:#}");
}

#[test]
fn a_dead_fork_is_kept_and_told_of() {
    let installation = Installation::newest();
    let primary = server(&installation).start();
    primary.pgbench(&["-i", "-s", "1", "-q"]);
    let standby = primary.standby();
    standby.wait_for_replay_of(&primary, DEADLINE);
    let site = Site::with_store("url = \"file://{scratch}/store\"", &both(&primary, &standby), "");
    site.holdfast.start_agent();
    site.holdfast.run(&["backup", "-q"]);
    standby.stop(StopMode::Fast);
    primary.pgbench(&["-c", "2", "-t", "300"]);
    let lost = end_of_wal(&primary);
    site.wait_for(lost);
    primary.kill9();
    standby.start();
    standby.promote();
    standby.pgbench(&["-c", "2", "-t", "100"]);
    let end = end_of_wal(&standby);
    site.holdfast.wait_until(DEADLINE, "the new timeline is stored", || {
        let content = site.content(TimelineId(2));
        !content.is_empty() && content.end_from(switch_of(&standby, 2)) >= end
    });
    assert!(site.content(TimelineId(1)).end_from(lost) >= lost, "what the old primary wrote is kept");
    site.content(TimelineId(2)).compare(&standby);
    assert_eq!(left_behind(&site), [1]);
    // By each of them once, whether the agent runs or not.
    let is_told = || {
        for command in ["status", "check"] {
            let text = String::from_utf8_lossy(&site.holdfast.try_run(&[command]).stdout).into_owned();
            let told = text.lines().filter(|line| line.contains("timeline 1 was left at") || line.contains("left timeline 1"));
            assert_eq!(told.count(), 1, "{command}: {text}");
        }
    };
    is_told();
    assert!(site.holdfast.terminate().success());
    is_told();
}

#[test]
fn a_demoted_server_that_still_answers_is_not_followed() {
    let primary = server(&Installation::newest()).start();
    primary.pgbench(&["-i", "-s", "1", "-q"]);
    let standby = primary.standby();
    let site = Site::new(&primary, "");
    site.holdfast.start_agent();
    standby.wait_for_replay_of(&primary, DEADLINE);
    site.wait_for(end_of_wal(&primary));
    standby.promote();
    // The old primary does not know of it, and goes on. Another agent stores the new timeline.
    let other = site.second_agent(&standby);
    other.start_agent();
    let refused =
        || site.receiver().and_then(|status| status.trouble).is_some_and(|trouble| trouble.message.contains("promoted"));
    site.holdfast.wait_until(DEADLINE, "the agent leaves the old primary", refused);
    assert!(other.terminate().success());
    let before = site.content(TimelineId(1)).compare_before(&primary, switch_of(&standby, 2));
    primary.pgbench(&["-c", "1", "-t", "100"]);
    assert!(site.holdfast.terminate().success());
    site.configure(&both(&primary, &standby), "");
    site.holdfast.start_agent();
    standby.pgbench(&["-c", "1", "-t", "100"]);
    let end = end_of_wal(&standby);
    site.holdfast.wait_until(DEADLINE, "the promoted one is followed", || {
        site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(2)) && status.stored >= Some(end))
    });
    assert!(site.holdfast.log().contains("trying the next server"));
    let content = site.content(TimelineId(2));
    assert!(content.end_from(switch_of(&standby, 2)) >= end && before > 0);
    content.compare(&standby);
}

#[test]
fn timelines_past_nine_and_fifteen_are_followed_one_after_the_other() {
    let cluster = server(&Installation::newest()).start();
    let site = Site::new(&cluster, "");
    site.holdfast.start_agent();
    site.wait_for(end_of_wal(&cluster));
    for timeline in 2..=17 {
        cluster.stop(StopMode::Fast);
        let signal = cluster.data_directory().join("standby.signal");
        std::fs::write(&signal, "").expect("write standby.signal");
        pg_fixtures::ServerUser::current().own(&signal);
        cluster.start();
        cluster.promote();
        cluster.sql("CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)");
        let end = end_of_wal(&cluster);
        // Now and then the agent misses one.
        if timeline % 4 != 0 {
            site.holdfast.wait_until(DEADLINE, "the new timeline is stored", || {
                site.receiver().is_some_and(|status| status.timeline == Some(TimelineId(timeline)) && status.stored >= Some(end))
            });
        }
    }
    for timeline in 2..=17 {
        history_is_stored(&site, &cluster, timeline);
        let begins = switch_of(&cluster, timeline);
        let ends = if timeline < 17 { switch_of(&cluster, timeline + 1) } else { end_of_wal(&cluster) };
        let content = site.content(TimelineId(timeline));
        assert!(content.end_from(begins) >= ends, "timeline {timeline} is stored from {begins} to {ends}");
    }
    assert!(site.receiver().is_some_and(|status| status.gaps.is_empty()));
}
