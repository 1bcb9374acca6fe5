//! What is kept of a program's output, and what is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use pg_fixtures::poll;

use super::site::{SECRETS, Site};

#[test]
fn output_comes_back_and_lies_nowhere_in_the_clear() {
    let site = Site::new("");
    let taken = site.json(&["backup", "command/secrets"]);
    assert_eq!(taken["plain_bytes"], SECRETS.len(), "{taken}");
    assert_eq!(site.run(&["restore", "command/secrets", "--to", "-", "--quiet"]), SECRETS);
    let file = site.scratch.path().join("secrets.yaml");
    let to = file.display().to_string();
    site.run(&["restore", "command/secrets", "--to", &to]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), SECRETS);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    fs::write(&file, "edited").expect("edit the file");
    assert!(site.run(&["restore", "command/secrets", "--to", &to]).contains("add --apply"));
    assert_eq!(fs::read_to_string(&file).expect("a file"), "edited");
    site.run(&["restore", "command/secrets", "--to", &to, "--apply"]);
    assert_eq!(fs::read_to_string(&file).expect("a file"), SECRETS);
    let repository = site.scratch.path().join("repository").display().to_string();
    for words in ["bWFyc2hhbGwtaXNsYW5k", "kind: Secret"] {
        let found = Command::new("grep").args(["-r", "-a", "-l", words, &repository]).output().expect("run grep");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{words}");
    }
    assert_eq!(site.json(&["verify"])["sound"], true);
}

#[test]
fn what_is_no_plain_file_is_not_replaced() {
    let site = Site::new("");
    site.run(&["backup", "command/secrets"]);
    let path = |name: &str| site.scratch.path().join(name).display().to_string();
    let made = Command::new("mkfifo").arg(path("pipe")).status().expect("run mkfifo");
    assert!(made.success());
    std::os::unix::fs::symlink(path("pipe"), path("link")).expect("link it");
    for name in ["pipe", "link", ""] {
        let said = site.refusal(&["restore", "command/secrets", "--to", &path(name), "--apply"]);
        assert!(said.contains("is no plain file") && said.contains("--to -"), "{said}");
    }
    assert!(fs::symlink_metadata(path("link")).expect("the link").is_symlink());
}

#[test]
fn age_and_zstd_alone_open_what_is_stored() {
    let site = Site::new("");
    site.run(&["backup", "command/secrets"]);
    let object = site.stored().into_iter().find(|path| path.to_string_lossy().ends_with("output.zst")).expect("the output");
    let key = site.scratch.path().join("key");
    let script = "age -d -i \"$1\" \"$0\" | zstd -dc";
    let opened = Command::new("bash").args(["-o", "pipefail", "-c", script]).arg(object).arg(key).output().expect("run bash");
    assert_eq!(String::from_utf8_lossy(&opened.stdout), SECRETS, "{}", String::from_utf8_lossy(&opened.stderr));
}

#[test]
fn only_changes_are_stored_when_only_changes_are_wanted() {
    let site = Site::new("");
    let backup = ["backup", "command/secrets", "--only-changes"];
    let first = site.json(&backup);
    assert_eq!(site.json(&backup)["unchanged_since"], first["id"]);
    assert_eq!((site.listed(), site.stored().len()), (1, 2));
    site.prints(&SECRETS.replace("bWFy", "bWFz"));
    assert!(site.json(&backup)["id"].is_string());
    assert_eq!(site.listed(), 2);
}

#[test]
fn a_program_that_fails_leaves_no_backup_and_its_complaint_is_shown_without_secrets() {
    let site = Site::new("env = { TOKEN = \"hunter2-hunter2\" }");
    site.does("echo half an output; echo \"cannot reach the server with $TOKEN\" >&2; exit 3");
    let said = site.refusal(&["backup", "command/secrets"]);
    assert!(said.contains("exit status: 3") && said.contains("cannot reach the server with (secret)"), "{said}");
    assert!(said.contains("not listed") && !said.contains("hunter2"), "{said}");
    assert_eq!((site.listed(), site.stored().len()), (0, 0));
    site.does("echo \"$TOKEN in the log\" >&2; pwd; echo $TOKEN");
    let output = site.try_run(&["backup", "command/secrets"]);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("(secret) in the log") && !log.contains("hunter2"), "{log}");
    assert!(site.run(&["restore", "command/secrets", "--to", "-", "--quiet"]).ends_with("\nhunter2-hunter2\n"));
}

#[test]
fn a_program_inherits_no_variable_that_holds_a_secret() {
    let site = Site::new("env = { TOKEN = { env = \"HUSH_TOKEN\" } }");
    site.does("echo \"${HUSH_TOKEN-nothing} $TOKEN $PLAIN\"");
    let mut backup = site.command(&["backup", "command/secrets"]);
    let taken = backup.env("HUSH_TOKEN", "hush-hush").env("PLAIN", "plain").output().expect("run it");
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(site.run(&["restore", "command/secrets", "--to", "-", "--quiet"]), "nothing hush-hush plain\n");
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let site = Site::new("timeout = \"1s\"");
    let pid = site.scratch.path().join("pid");
    site.does(&format!("sleep 300 & echo $! > {}; echo waiting >&2; wait", pid.display()));
    let begun = Instant::now();
    let said = site.refusal(&["backup", "command/secrets"]);
    assert!(said.contains("did not end within 1 s and was killed") && said.contains("waiting"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    let child = fs::read_to_string(&pid).expect("its child's pid");
    let gone = || !fs::read_to_string(format!("/proc/{}/stat", child.trim())).is_ok_and(|stat| !stat.contains(") Z "));
    poll::until(Duration::from_secs(10), "what it started is killed", gone);
    assert_eq!((site.listed(), site.stored().len()), (0, 0));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let site = Site::new("");
    fs::remove_file(&site.program).expect("remove the program");
    let said = site.refusal(&["backup", "command/secrets"]);
    assert!(said.contains("cannot run") && said.contains("kubectl"), "{said}");
    let checked = site.try_run(&["check", "command/secrets"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.code() == Some(2) && said.contains("cannot run") && said.contains("kubectl"), "{said}");
}

/// A restore that was killed has left its lease: so a running one has it too.
#[test]
fn a_backup_that_is_being_restored_is_left_alone_by_retention() {
    let site = Site::new("keep = { last = 1 }");
    let first = site.json(&["backup", "command/secrets"])["id"].as_str().expect("an id").to_owned();
    site.prints("other output\n");
    site.run(&["backup", "command/secrets"]);
    let mut restore = site.command(&["restore", "command/secrets", "--backup", &first, "--to", "-"]);
    let killed = restore.env("HOLDFAST_FAIL_POINTS", "get.before /data/ 0 kill").output().expect("run it");
    assert!(!killed.status.success() && killed.stdout.is_empty(), "{killed:?}");
    site.run(&["expire", "command/secrets"]);
    assert_eq!(site.listed(), 2, "what is being restored was removed");
    assert_eq!(site.run(&["restore", "command/secrets", "--backup", &first, "--to", "-"]), SECRETS);
}
