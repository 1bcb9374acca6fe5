//! Mistakes in the configuration and on the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pg_fixtures::agent::Holdfast;

use crate::support::{configuration, names, refusal};

fn holdfast(configuration: &str) -> Holdfast {
    Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), configuration)
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let holdfast = holdfast(&format!("{}max_dely = \"1s\"\n", configuration("host=/nowhere")));
    for command in [&["status"][..], &["agent"], &["check"], &["init"], &["backups"]] {
        // Of `check`, 1 would be a warning.
        let code = if command == ["check"] { 2 } else { 1 };
        names(&refusal(&holdfast, command, code), &["max_dely", "max_delay", ":6: "]);
    }
}

#[test]
fn a_time_without_an_offset_is_refused_with_an_example() {
    let holdfast = holdfast(&configuration("host=/nowhere"));
    let to = holdfast.scratch().path().join("restored").display().to_string();
    let said = refusal(&holdfast, &["restore", "--to", &to, "--target-time", "2026-11-22 14:30"], 2);
    names(&said, &["2026-11-22 14:30:00+01", "Europe/Berlin"]);
    refusal(&holdfast, &["restore", "--to", &to, "--target-lsn", "0/1", "--target-name", "both"], 2);
    let said = refusal(&holdfast, &["restore", "--to", &to, "--target-action", "pause"], 2);
    assert!(said.contains("--target-action needs a target"), "{said}");
    assert!(fs::metadata(&to).is_err());
}

#[test]
fn a_place_that_is_no_repository_is_told_and_not_made_one() {
    let holdfast = holdfast(&configuration("host=/nowhere"));
    for command in [&["status"][..], &["backups"], &["backup"], &["wal", "list"]] {
        names(&refusal(&holdfast, command, 1), &["holdfast init", "open file://"]);
    }
    assert!(fs::metadata(holdfast.scratch().path().join("store")).is_err());
}

#[test]
fn a_slot_name_that_postgresql_would_refuse_is_refused_with_its_line() {
    let long = "a".repeat(64);
    for name in ["Holdfast", "hold-fast", "", &long] {
        let holdfast = holdfast(&format!("{}slot = \"{name}\"\n", configuration("host=/nowhere")));
        for (command, code) in [("check", 2), ("agent", 1), ("init", 1)] {
            names(&refusal(&holdfast, &[command], code), &[":6: ", "cannot name a replication slot"]);
        }
    }
}

#[test]
fn a_resource_has_to_be_named_where_there_are_several() {
    let holdfast = holdfast(&format!("{}[files.a]\npaths = [\"/etc/hostname\"]\n", configuration("host=/nowhere")));
    for command in ["backup", "restore"] {
        names(&refusal(&holdfast, &[command], 2), &["more than one resource", "postgres/main, files/a", "hint:"]);
    }
}

/// It is a mistake on the command line, and to `check` no warning.
#[test]
fn a_resource_that_is_not_configured_is_a_mistake_on_the_command_line() {
    let holdfast = holdfast(&configuration("host=/nowhere"));
    for verb in ["check", "status", "backup", "backups", "verify", "expire", "restore"] {
        names(&refusal(&holdfast, &[verb, "postgres/other"], 2), &["postgres/other", "postgres/main"]);
    }
    names(&refusal(&holdfast, &["wal", "list", "postgres/other"], 2), &["postgres/other", "postgres/main"]);
}

#[test]
fn a_time_with_an_offset_that_no_clock_has_is_refused() {
    let holdfast = holdfast(&configuration("host=/nowhere"));
    for time in ["2026-11-22 14:30:00+25:00", "2026-11-22 14:30:00-16"] {
        names(&refusal(&holdfast, &["restore", "--to", "/nowhere/x", "--target-time", time], 2), &["15:59"]);
    }
}

/// A repository with one backup of one file.
fn with_a_backup() -> Holdfast {
    let holdfast = holdfast("[repository]\nurl = \"file://{scratch}/store\"\n[files.a]\npaths = [\"{scratch}/a\"]\n");
    fs::write(holdfast.scratch().path().join("a"), "content").expect("write a file");
    pg_fixtures::ServerUser::current().own_all(holdfast.scratch().path());
    holdfast.run(&["init"]);
    holdfast.run(&["backup", "files/a"]);
    holdfast
}

#[test]
fn nothing_is_restored_into_the_repository() {
    let clusters = holdfast(&configuration("host=/nowhere"));
    let files = with_a_backup();
    for (holdfast, resource) in [(&clusters, "postgres/main"), (&files, "files/a")] {
        let store = holdfast.scratch().path().join("store");
        for place in [store.clone(), store.join("new")] {
            let arguments = ["restore", resource, "--apply", "--to", &place.display().to_string()];
            names(&refusal(holdfast, &arguments, 2), &["lies in the repository", "hint:"]);
        }
        assert!(!store.join("new").exists());
    }
}

#[test]
fn a_place_that_this_user_may_not_enter_is_named_with_what_was_tried() {
    let holdfast = with_a_backup();
    let closed = holdfast.scratch().new_directory("closed");
    let set_mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).expect("set the mode");
    set_mode(0o000);
    let place = closed.join("x").display().to_string();
    let said = refusal(&holdfast, &["restore", "files/a", "--to", &place], 1);
    set_mode(0o700);
    names(&said, &[&format!("cannot open or create the directory {place} to restore into"), "hint: run it as a user that may"]);
}

#[test]
fn an_altered_mark_of_the_repository_is_noticed_and_keeps_nobody_from_reading() {
    let holdfast = with_a_backup();
    let mark = holdfast.scratch().path().join("store/holdfast.json");
    let said = || String::from_utf8_lossy(&holdfast.try_run(&["check"]).stdout).into_owned();
    let write = |text: &str| {
        fs::remove_file(&mark).expect("remove the mark");
        fs::write(&mark, text).expect("write a mark");
        pg_fixtures::ServerUser::current().own_all(holdfast.scratch().path());
    };
    let whole = fs::read_to_string(&mark).expect("the mark");
    assert!(!said().contains("holdfast.json"), "{}", said());
    write(&whole.replace("\"holdfast ", "\"holdfasT "));
    names(&said(), &["CRITICAL  repository: holdfast.json cannot be read", "altered", "move it out of the repository"]);
    names(&holdfast.run(&["backups"]), &["files/a"]);
    let earlier: Vec<&str> = whole.lines().filter(|line| !line.contains("\"check\"") && *line != "}").collect();
    let earlier = format!("{}\n}}\n", earlier.join("\n").trim_end_matches(','));
    write(&earlier);
    assert!(!said().contains("holdfast.json"), "one of an earlier version is taken as it is: {}", said());
}

#[test]
fn keys_are_looked_for_in_the_backups_of_every_kind() {
    let holdfast = with_a_backup();
    names(&holdfast.run(&["key", "list"]), &["stored (of 1 object looked at)", "1 in the clear, such as files/a/"]);
}
