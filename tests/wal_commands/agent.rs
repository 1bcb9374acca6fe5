//! `archive_command` through the agent's socket.

use std::os::unix::fs::PermissionsExt;

use pg_fixtures::postgres::Installation;

use super::site::{SOON, Site, shim_program};

#[test]
fn the_agent_stores_what_the_archiver_hands_over_on_every_version() {
    for installation in Installation::all() {
        let site = Site::new(&installation);
        let socket = site.holdfast.scratch().path().join("agent.sock");
        site.holdfast.start_agent();
        site.holdfast.wait_until(SOON, "the agent listens", || socket.exists());
        let directory = site.base_backup();
        let segments: Vec<String> = (0..20).map(|number| site.write_segment(&format!("t{number}"))).collect();
        site.wait_for(&segments[19]);
        assert!(segments.iter().all(|segment| site.object(segment).exists()));
        assert!(!site.server.log().contains("no agent at"), "{}", site.server.log());
        assert_eq!(site.server.sql("SELECT failed_count FROM pg_stat_archiver"), "0");
        site.recovers_to_the_same(&directory);
    }
}

#[test]
fn archiving_goes_on_when_the_agent_is_killed_and_when_it_comes_back() {
    let site = Site::new(&Installation::newest());
    let socket = site.holdfast.scratch().path().join("agent.sock");
    for round in 0..3 {
        site.holdfast.start_agent();
        site.holdfast.wait_until(SOON, "the agent listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        let with_agent = site.write_segment(&format!("a{round}"));
        site.wait_for(&with_agent);
        site.holdfast.kill9();
        let without = site.write_segment(&format!("b{round}"));
        site.wait_for(&without);
    }
    assert!(site.server.log().contains("no agent at"));
}

#[test]
fn the_agent_stores_wal_for_nobody_but_the_configured_user() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("not tested: only root can become another user");
        return;
    }
    let site = Site::new(&Installation::newest());
    let segment = site.write_segment("a");
    site.wait_for(&segment);
    let socket = site.holdfast.scratch().path().join("agent.sock");
    site.holdfast.start_agent();
    site.holdfast.wait_until(SOON, "the agent listens", || socket.exists());
    let file = site.server.data_directory().join("pg_wal").join(&segment);
    std::fs::set_permissions(site.holdfast.scratch().path(), std::fs::Permissions::from_mode(0o755)).expect("open the folder");
    let ask = |user: u32| {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(shim_program("holdfast-archive-command"));
        command.uid(user).arg("--socket").arg(&socket).arg(&file).current_dir("/");
        let output = command.output().expect("run the shim");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(ask(0).0, "root may: {}", ask(0).1);
    let (stored, message) = ask(65534);
    assert!(!stored && message.contains("user 65534 may not store WAL"), "{message}");
}
