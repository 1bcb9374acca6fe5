//! Stored WAL that is sound, rightly named, and another server's: recovery would end there and promote, so nothing leads across it.

use std::fs;
use std::process::Command;

use pg_fixtures::agent::Holdfast;
use pg_fixtures::checksum::Checksums;
use pg_fixtures::postgres::{Cluster, Installation, StopMode};
use pg_fixtures::{Scratch, ServerUser};

use super::support::{DEADLINE, Story};

/// A copy of a cluster, which archives into a repository of its own.
struct Copy {
    cluster: Cluster,
    holdfast: Holdfast,
    _scratch: Scratch,
}

fn copy_of(original: &Cluster) -> Copy {
    let (scratch, holdfast) = (Scratch::new(), Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), ""));
    let directory = scratch.path().join("copy");
    ServerUser::current().own(scratch.path());
    original.stop(StopMode::Fast);
    let copied = Command::new("cp").arg("-a").arg(original.data_directory()).arg(&directory).status().expect("run cp");
    assert!(copied.success());
    original.start();
    let program = holdfast.command(&[""; 0]).get_program().to_string_lossy().into_owned();
    let push = format!("{program} --config {} wal push --resource postgres/main %p", holdfast.configuration().display());
    let cluster = Cluster::builder(original.installation()).setting("archive_command", &push).adopt(&directory);
    holdfast.configure(&format!(
        "[repository]\nurl = \"file://{{scratch}}/repository\"\n[postgres.main]\nstream = false\nconninfo = \"{}\"\n",
        cluster.conninfo()
    ));
    cluster.start();
    holdfast.run(&["init"]);
    Copy { cluster, holdfast, _scratch: scratch }
}

/// Ends two segments, and waits until they are stored; the name of the second.
fn two_segments(cluster: &Cluster, rows: u32) -> String {
    let write = || cluster.sql(&format!("INSERT INTO t SELECT generate_series(1, {rows})"));
    write();
    cluster.switch_wal();
    write();
    let second = cluster.switch_wal();
    let stored = || cluster.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") >= second;
    cluster.wait_until(DEADLINE, "the WAL is stored", stored);
    second
}

#[test]
fn a_segment_of_a_clone_under_the_right_name_is_never_led_across() {
    let story = Story::new(&Installation::newest());
    let cluster = &story.cluster;
    cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    let clone = copy_of(cluster);
    cluster.sql("INSERT INTO t VALUES (0)");
    let (before, expected) = (cluster.lsn(), Checksums::of(cluster));
    let second = two_segments(cluster, 100);
    assert_eq!(two_segments(&clone.cluster, 3000), second, "both write the same segments");
    let behind = cluster.lsn();
    cluster.sql("INSERT INTO t VALUES (1)");
    let time = cluster.sql("SELECT clock_timestamp()");
    cluster.sql("INSERT INTO t VALUES (2)");
    let xid = cluster.sql("BEGIN; INSERT INTO t VALUES (3); SELECT pg_current_xact_id(); COMMIT");
    cluster.sql("SELECT pg_create_restore_point('behind')");
    story.store_wal();
    let in_clones = clone.holdfast.scratch().path().join("repository");
    let object = story.object(&second);
    let others = in_clones.join(object.strip_prefix(story.repository()).expect("an object of the repository"));
    assert!(story.try_restore(&story.place("sound"), &["--dry-run"]).status.success(), "it was sound before");
    fs::remove_file(&object).expect("remove a segment");
    fs::copy(others, &object).expect("put the clone's in its place");
    ServerUser::current().own(&object);

    let targets: [&[&str]; 5] =
        [&[], &["--target-lsn", &behind], &["--target-time", &time], &["--target-xid", &xid], &["--target-name", "behind"]];
    for target in targets {
        for dry in [&[][..], &["--dry-run"]] {
            let refused = story.refusal(&[target, dry].concat());
            assert!(refused.contains("the stored WAL is broken at") && refused.contains(&second), "{target:?}: {refused}");
            assert!(refused.contains("--target-lsn"), "what to do next: {refused}");
        }
    }
    assert_eq!(story.restored_content("before", &["--target-lsn", &before]), expected);
}
