//! Mistakes in the configuration and on the command line.

use std::fs;

use pg_fixtures::agent::Holdfast;

use crate::support::{configuration, names, refusal};

fn holdfast(configuration: &str) -> Holdfast {
    Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), configuration)
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let holdfast = holdfast(&format!("{}max_dely = \"1s\"\n", configuration("host=/nowhere")));
    for command in [&["status"][..], &["agent"], &["check"], &["init"], &["backups"]] {
        names(&refusal(&holdfast, command, 1), &["max_dely", "max_delay", ":6: "]);
    }
}

#[test]
fn a_time_without_an_offset_is_refused_with_an_example() {
    let holdfast = holdfast(&configuration("host=/nowhere"));
    let to = holdfast.scratch().path().join("restored").display().to_string();
    let said = refusal(&holdfast, &["restore", "--to", &to, "--target-time", "2026-11-22 14:30"], 2);
    names(&said, &["2026-11-22 14:30:00+01", "Europe/Berlin"]);
    refusal(&holdfast, &["restore", "--to", &to, "--target-lsn", "0/1", "--target-name", "both"], 2);
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
