//! Damaged and missing objects are named and nothing can be started; nor can a restore that was interrupted.

use std::fs;
use std::os::unix::fs::FileExt;

use pg_fixtures::postgres::{Cluster, Installation};

use super::support::{Story, until};

#[test]
fn a_damaged_pack_is_named_and_nothing_is_started() {
    let story = Story::new(&Installation::newest());
    story.cluster.pgbench(&["-i", "-q", "-s", "1"]);
    let entry = story.backup();
    let packs = entry.packs();
    let name = &packs[packs.len() / 2].1.name;
    let pack = story.repository().join(format!("postgres/main/data/{}/{name}", entry.id));
    let whole = fs::read(&pack).expect("a pack");
    let file = fs::OpenOptions::new().write(true).open(&pack).expect("a pack");
    let middle = whole.len() / 2;
    file.write_at(&[!whole[middle]], middle as u64).expect("damage a pack");
    let to = story.place("altered");
    let output = story.try_restore(&to, &["--start"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains(name.as_str()), "{message}");
    assert!(!to.join("global/pg_control").exists() && !to.join("postmaster.pid").exists());
    assert!(Cluster::builder(story.cluster.installation()).adopt(&to).try_start().is_err());
    let again = story.try_restore(&to, &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("did not finish"));

    file.set_len(middle as u64).expect("cut a pack");
    let message = story.refusal(&[]);
    assert!(message.contains(name.as_str()) && message.contains("bytes instead of"), "{message}");
    fs::remove_file(&pack).expect("remove a pack");
    let message = story.refusal(&[]);
    assert!(message.contains(name.as_str()) && message.contains("not there"), "{message}");
}

#[test]
fn an_interrupted_restore_does_not_start() {
    let story = Story::new(&Installation::newest());
    story.cluster.pgbench(&["-i", "-q", "-s", "5"]);
    story.backup();
    for round in 0..3_usize {
        let to = story.place(&format!("killed{round}"));
        let path = to.display().to_string();
        let mut command = story.holdfast.command(&["restore", "postgres/main", "--to", &path]);
        let mut restoring = command.spawn().expect("start a restore");
        // Killed at another place each time: with few, more, and many files written.
        let written = || super::refused::walk_if_there(&to).len();
        until("some files are restored", || written() > 1 + 300 * round || to.join("global/pg_control").exists());
        restoring.kill().expect("kill the restore");
        restoring.wait().expect("wait for the restore");
        if to.join("global/pg_control").exists() {
            println!("round {round} came too late: the restore had finished");
            continue;
        }
        let started = Cluster::builder(story.cluster.installation()).adopt(&to).try_start();
        assert!(started.is_err(), "a half restored cluster has started");
        assert!(String::from_utf8_lossy(&story.try_restore(&to, &[]).stderr).contains("did not finish"));
    }
}
