//! Files into the archive: what is refused, and what is success.

use std::fs;
use std::path::{Path, PathBuf};

use pg_fixtures::postgres::{Cluster, Installation};

use super::site::{SOON, Site};

/// A site with two archived segments, copied before the server can recycle them.
fn site_with_copies() -> (Site, [String; 2], PathBuf) {
    let site = Site::new(&Installation::newest());
    site.server.sql("ALTER SYSTEM SET wal_keep_size = '100MB'");
    site.server.reload();
    let segments = [site.write_segment("a"), site.write_segment("b")];
    site.wait_for(&segments[1]);
    let copies = site.holdfast.scratch().new_directory("copies");
    for segment in &segments {
        copy(&site.server.data_directory().join("pg_wal").join(segment), &copies.join(segment));
    }
    (site, segments, copies)
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    pg_fixtures::ServerUser::current().own(to);
}

fn push(site: &Site, path: &Path) -> Result<(), String> {
    let output = site.holdfast.try_run(&["wal", "push", &path.display().to_string()]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code().is_some_and(|code| code < 126), "{:?} {errors}", output.status);
    if output.status.success() { Ok(()) } else { Err(errors) }
}

#[test]
fn the_archiver_stores_every_kind_of_file() {
    for installation in Installation::all() {
        let site = Site::new(&installation);
        let standby = site.server.standby();
        let backed_up = site.server.new_directory("backup");
        site.server.pg_basebackup(&backed_up, &["--wal-method=none"]);
        let segment = site.write_segment("a");
        site.wait_for(&segment);
        standby.wait_for_replay_of(&site.server, SOON);
        site.server.sql("CREATE TABLE b AS SELECT 1 AS i");
        standby.wait_for_replay_of(&site.server, SOON);
        standby.promote();
        let archived = "SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') name WHERE name LIKE '%.ready'";
        standby.wait_until(SOON, "everything is archived", || standby.sql(archived) == "0");
        let wal = site.store().join("postgres/main/wal").join(site.server.system_identifier());
        assert!(wal.join("history/00000002.history").exists());
        let names: Vec<String> = fs::read_dir(wal.join(&segment[..16]))
            .expect("list the group")
            .map(|entry| entry.expect("list the group").file_name().to_string_lossy().into_owned())
            .collect();
        for extension in [".partial", ".backup"] {
            assert!(names.iter().any(|name| name.ends_with(extension)), "{extension}: {names:?}");
        }
        assert_eq!(site.server.sql("SELECT failed_count FROM pg_stat_archiver"), "0");
    }
}

#[test]
fn the_same_segment_twice_is_success_and_a_different_one_is_not() {
    let (site, segments, copies) = site_with_copies();
    push(&site, &copies.join(&segments[0])).expect("the same content");
    let mut bytes = fs::read(copies.join(&segments[0])).expect("read the copy");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(copies.join(&segments[0]), bytes).expect("write the copy");
    let refused = push(&site, &copies.join(&segments[0])).expect_err("other content");
    assert!(refused.contains("contradicts what is stored") && refused.contains(&segments[0]), "{refused}");
}

#[test]
fn what_is_truncated_or_recycled_is_refused() {
    let (site, segments, copies) = site_with_copies();
    let next = format!("{}F", &segments[1][..23]);
    let bytes = fs::read(copies.join(&segments[1])).expect("read the copy");
    fs::write(copies.join(&next), &bytes[..bytes.len() - 4096]).expect("write a truncated copy");
    let truncated = push(&site, &copies.join(&next)).expect_err("truncated");
    assert!(truncated.contains("bytes instead of 1048576"), "{truncated}");
    fs::write(copies.join(&next), &bytes).expect("write a copy under another name");
    let recycled = push(&site, &copies.join(&next)).expect_err("recycled");
    assert!(recycled.contains("begins with the page of"), "{recycled}");
    assert!(!site.object(&next).exists());
}

#[test]
fn another_clusters_segment_is_refused_wherever_it_lies() {
    let (site, segments, copies) = site_with_copies();
    // Put into our own pg_wal by mistake.
    let misplaced = site.server.data_directory().join("pg_wal").join("0000000100000000000000FE");
    copy(&copies.join(&segments[0]), &misplaced);
    assert!(push(&site, &misplaced).expect_err("misplaced").contains("begins with the page of"));
    fs::remove_file(&misplaced).expect("remove the misplaced file");
    let other = Cluster::builder(&Installation::newest()).wal_segment_size(1).start();
    let foreign = other.switch_wal();
    let file = other.data_directory().join("pg_wal").join(&foreign);
    let refused = push(&site, &file).expect_err("another cluster's");
    assert!(refused.contains("belongs to the cluster with system identifier"), "{refused}");
    copy(&file, &copies.join(&foreign));
    let refused = push(&site, &copies.join(&foreign)).expect_err("another cluster's, elsewhere");
    assert!(refused.contains("belongs to the cluster with system identifier"), "{refused}");
}

/// A primary and its standby with `archive_mode = always` hand over the same segments: the second to come finds its own content.
#[test]
fn a_standby_that_archives_too_is_no_conflict() {
    let site = Site::new(&Installation::newest());
    let standby = site.server.standby();
    standby.sql("ALTER SYSTEM SET archive_mode = 'always'");
    standby.restart();
    let [_, _, last] = ["a", "b", "c"].map(|table| site.write_segment(table));
    site.wait_for(&last);
    standby.wait_for_replay_of(&site.server, SOON);
    let question = format!("SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver");
    standby.wait_until(SOON, "the standby archives as well", || standby.sql(&question) == "t");
    for server in [&site.server, &standby] {
        assert_eq!(server.sql("SELECT failed_count FROM pg_stat_archiver"), "0");
    }
}

/// Two standbys that are promoted from different positions both call their timeline 2: the second one's files are refused, loudly.
#[test]
fn of_two_promotions_to_one_timeline_the_second_is_refused() {
    let site = Site::new(&Installation::newest());
    let [first, second] = [site.server.standby(), site.server.standby()];
    first.promote();
    site.server.sql("CREATE TABLE only_in_the_second AS SELECT 1 AS i");
    second.wait_for_replay_of(&site.server, SOON);
    let wal = site.store().join("postgres/main/wal").join(site.server.system_identifier());
    let history = wal.join("history/00000002.history");
    first.wait_until(SOON, "the first promotion is archived", || history.exists());
    let archived = "SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') name WHERE name LIKE '%.ready'";
    first.wait_until(SOON, "everything of the first is archived", || first.sql(archived) == "0");
    let stored = fs::read(&history).expect("read the history");
    second.promote();
    second.wait_until(SOON, "the archiver of the second fails", || {
        second.sql("SELECT failed_count > 0 FROM pg_stat_archiver") == "t"
    });
    assert!(second.log().contains("it was not overwritten"), "{}", second.log());
    assert_eq!(fs::read(&history).expect("read the history"), stored);
    assert_eq!(first.sql("SELECT failed_count FROM pg_stat_archiver"), "0");
}

#[test]
fn check_warns_where_nothing_sends_wal() {
    let site = Site::new(&Installation::newest());
    let checked = || String::from_utf8_lossy(&site.holdfast.try_run(&["check"]).stdout).into_owned();
    let text = checked();
    assert!(text.contains("archive_command keeps up") && !text.contains("nothing sends WAL"), "{text}");
    site.server.sql("ALTER SYSTEM SET archive_mode = off");
    site.server.restart();
    let text = checked();
    assert!(text.contains("nothing sends WAL"), "{text}");
}

/// A command that stores nothing and returns 0: the server removes its WAL, and says that all is well.
#[test]
fn check_tells_of_what_the_server_takes_for_archived_and_is_not_stored() {
    let site = Site::new(&Installation::newest());
    site.wait_for(&site.write_segment("a"));
    site.holdfast.run(&["backup", "-q"]);
    let checked = || {
        let output = site.holdfast.try_run(&["check"]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    site.wait_for(&site.write_segment("b"));
    let (_, text) = checked();
    assert!(text.contains("can be restored from") && !text.contains("for archived, and it is not stored"), "{text}");
    site.server.sql("ALTER SYSTEM SET archive_command = '/bin/true'");
    site.server.restart();
    let lost = site.write_segment("c");
    site.wait_for(&lost);
    let (code, text) = checked();
    let said = format!("the server takes {lost} for archived, and it is not stored");
    assert!(code == Some(2) && text.contains(&said) && text.contains("archive_command is \"/bin/true\""), "{code:?} {text}");
}
