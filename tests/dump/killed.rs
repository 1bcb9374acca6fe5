//! What a killed process leaves in the clear does not stay.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use pg_fixtures::poll;
use pg_fixtures::postgres::Installation;

use super::site::Site;

const WITHIN: Duration = Duration::from_secs(60);

/// The scratch servers in a directory that take connections, each with its process id.
fn scratch_servers(directory: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(directory).expect("the directory").map(|entry| entry.expect("an entry").path());
    let pid = |path: &Path| fs::read_to_string(path.join("data/postmaster.pid")).ok()?.lines().next().map(str::to_owned);
    let listening = entries.filter(|path| path.join(".s.PGSQL.5432").exists());
    listening.filter_map(|path| Some((path.clone(), pid(&path)?))).collect()
}

#[test]
fn the_scratch_server_of_a_killed_verify_is_ended_by_the_next_one() {
    let site = Site::new(&Installation::newest(), "");
    site.backup();
    let temporary = site.scratch.path().join("temporary");
    fs::create_dir(&temporary).expect("create a directory");
    let verify = || {
        let mut verify = site.command(&["verify", "dump/app"]);
        verify.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::null());
        verify
    };
    let mut killed = verify().spawn().expect("run the program");
    let mut found = Vec::new();
    poll::until(WITHIN, "a scratch server runs", || {
        found = scratch_servers(&temporary);
        !found.is_empty()
    });
    killed.kill().expect("kill it");
    killed.wait().expect("wait for it");
    let (place, pid) = found.pop().expect("a scratch server");
    assert!(place.exists() && Path::new("/proc").join(&pid).exists());
    // It is not taken for one that has just been made.
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    File::open(&place).and_then(|file| file.set_modified(long_ago)).expect("set a time");
    assert!(verify().status().expect("run the program").success());
    poll::until(WITHIN, "its server is ended", || !Path::new("/proc").join(&pid).exists());
    let left: Vec<_> = fs::read_dir(&temporary).expect("the directory").collect();
    assert!(left.is_empty(), "{left:?}");
}
