//! A store that does not answer is told within seconds, by its name, to whoever waits for it.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pg_fixtures::FreePort;
use pg_fixtures::agent::Holdfast;

/// The store gets ten seconds, and a debug build on a busy host its time to start.
const SOON: Duration = Duration::from_secs(30);

/// What each verb for people says of a store at this port.
fn each_verb_says_so(port: u16) {
    let configuration = format!(
        "[repository]\nurl = \"s3://wal\"\nendpoint = \"http://127.0.0.1:{port}\"\naccess_key_id = \"key-id\"\n\
         secret_access_key = \"hush-hush\"\n[agent]\nlisten = \"127.0.0.1:1\"\n\
         [postgres.main]\nconninfo = \"host=127.0.0.1 port=1 user=u connect_timeout=1\"\n"
    );
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration);
    let to = holdfast.scratch().path().join("to").display().to_string();
    let restore = ["restore", "--to", &to, "--dry-run"];
    for arguments in [&["status"][..], &["check"], &["backups"], &["wal", "list"], &restore] {
        let begin = Instant::now();
        let verbose: Vec<&str> = arguments.iter().chain(&["-vv"]).copied().collect();
        let output = holdfast.try_run(&verbose);
        let took = begin.elapsed();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success() && took < SOON, "{arguments:?} took {took:?}: {text}");
        assert!(text.contains(&format!("check that http://127.0.0.1:{port} can be reached")), "{arguments:?}: {text}");
        assert!(!text.contains("hush-hush") && !text.contains("key-id"), "{text}");
    }
}

#[test]
fn an_endpoint_that_refuses_connections_is_named_within_seconds() {
    let port = FreePort::take();
    each_verb_says_so(port.number());
}

#[test]
fn an_endpoint_that_never_answers_is_named_within_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    each_verb_says_so(listener.local_addr().expect("an address").port());
}
