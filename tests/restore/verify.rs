//! `holdfast verify` of the WAL between backups: what is missing or damaged is named, with what cannot be restored for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pg_fixtures::ServerUser;
use pg_fixtures::postgres::Installation;
use serde_json::Value;

use super::damage::json;
use super::support::Story;

/// Stores the segment that is being written, and returns its name.
fn stored(story: &Story) -> String {
    story.cluster.sql("INSERT INTO t SELECT generate_series(1, 100)");
    let name = story.cluster.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    story.store_wal();
    name
}

/// What is wrong with the WAL.
fn damage(story: &Story, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let (report, code) = json(story, &[&["verify"], arguments].concat());
    let wal = report["wal"].as_array().expect("a list");
    assert!(wal.len() == 1 && wal[0]["timeline"] == 1 && wal[0]["objects"].as_u64() > Some(2), "{report:#}");
    assert!(report["backups"].as_array().into_iter().flatten().all(|backup| backup["damage"] == Value::Array(vec![])));
    (wal[0]["damage"].as_array().expect("a list").clone(), code)
}

fn write(path: &Path, content: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).expect("make an object writable");
    fs::write(path, content).expect("write an object");
}

#[test]
fn damage_between_backups_is_named_with_what_is_lost_for_it() {
    let story = Story::new(&Installation::newest());
    let text = String::from_utf8_lossy(&story.holdfast.try_run(&["status"]).stdout).into_owned();
    assert!(text.contains("NOT RECOVERABLE") && text.contains("looked at") && !text.contains("proven"), "{text}");
    story.cluster.sql("CREATE TABLE t (i int)");
    story.backup();
    let names = [stored(&story), stored(&story), stored(&story)];
    let second = story.backup();
    stored(&story);
    for arguments in [&[][..], &["--deep"]] {
        assert_eq!(damage(&story, arguments), (vec![], Some(0)));
    }
    let text = String::from_utf8_lossy(&story.holdfast.try_run(&["status"]).stdout).into_owned();
    let proven = text.lines().find_map(|line| line.trim().strip_prefix("proven at "));
    assert!(proven.is_some_and(|time| time.len() == "2026-11-22T07:15:00Z".len()), "{text}");

    let object = story.object(&names[1]);
    let whole = fs::read(&object).expect("a segment");
    let mut altered = whole.clone();
    altered[whole.len() - 100] ^= 1;
    write(&object, &altered);
    ServerUser::current().own_all(&story.repository());
    let (found, code) = damage(&story, &["--deep"]);
    assert!(code == Some(1) && found.len() == 1, "{found:?}");
    let lost = &found[0]["lost"];
    assert!(found[0]["object"].as_str().is_some_and(|object| object.ends_with(&names[1])), "{found:?}");
    let expected = (Value::from(second.id.to_string()), Value::from(second.postgres().stop_lsn.to_string()));
    assert_eq!((lost["backup"].clone(), lost["to"].clone()), expected, "{found:?}");

    write(&object, b"");
    ServerUser::current().own_all(&story.repository());
    let (found, code) = damage(&story, &[]);
    assert!(code == Some(1) && found.len() == 1 && found[0]["object"].to_string().contains(&names[1]), "{found:?}");
    fs::remove_file(&object).expect("remove a segment");
    let (found, code) = damage(&story, &[]);
    assert!(code == Some(1) && found[0]["detail"].to_string().contains("is not there"), "{found:?}");
    let text = String::from_utf8_lossy(&story.holdfast.try_run(&["verify", "-q"]).stdout).into_owned();
    assert!(text.contains("not recoverable: what lies between") && text.contains(second.id.as_str()), "{text}");
}
