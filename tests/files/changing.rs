//! Files that change while they are read.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use std::time::{Duration, Instant};

use holdfast::resources;

use super::site::{Site, output};

#[test]
fn a_file_that_keeps_changing_is_read_again_and_spoken_of() {
    let site = Site::new("");
    let path = site.write("busy", vec![0; 64 << 20]);
    site.write("calm", "calm");
    let stop = AtomicBool::new(false);
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(&path).expect("open it");
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                file.write_all_at(&number.to_le_bytes(), (number * 4096) % (64 << 20)).expect("write");
            }
        });
        let taken = site.backup();
        stop.store(true, Ordering::Relaxed);
        taken
    });
    assert!(taken["remarks"].to_string().contains("busy changed each of"), "{taken}");
    assert_eq!(taken["files"], 2, "{taken}");
    let (to, tree) = site.target("restored");
    site.run(&["restore", "files/tree", "--to", &to]);
    assert_eq!(fs::read_to_string(tree.join("calm")).expect("a file"), "calm");
    assert_eq!(fs::metadata(tree.join("busy")).expect("a file").len(), 64 << 20);
}

#[test]
fn files_that_come_and_go_do_not_fail_the_backup() {
    let site = Site::new("");
    site.write("steady", "steady");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let path = site.tree.join(format!("passing-{}", number % 500));
                if number.is_multiple_of(2) { drop(fs::remove_file(path)) } else { fs::write(path, "x").expect("write a file") }
            }
        });
        for _ in 0..5 {
            site.backup();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (to, tree) = site.target("restored");
    site.run(&["restore", "files/tree", "--to", &to]);
    assert_eq!(output("cat", &[tree.join("steady")]), "steady");
    assert_eq!(site.json(&["verify"])["sound"], true);
}

#[test]
fn nothing_is_stored_where_nothing_has_changed() {
    let site = Site::new("exclude = [\"*.tmp\"]");
    let path = site.write("a", "1");
    site.write("sub/b", "1");
    let first = site.json(&["backup", "files/tree", "--only-changes"]);
    assert!(first["id"].is_string(), "the first is always stored: {first}");
    site.write("ignored.tmp", "1");
    let again = site.json(&["backup", "files/tree", "--only-changes"]);
    assert_eq!(again["unchanged_since"], first["id"], "{again}");
    let stored = site.stored();
    assert_eq!((site.listed(), stored.len()), (1, 3), "{stored:?}");
    let folder = site.tree.join("sub").display().to_string();
    let list = "0x0200000001000700ffffffff04000500ffffffff20000500ffffffff"; // the one that follows from a mode of 0755
    let changes: [&dyn Fn(); 6] = [
        &|| fs::write(&path, "2").expect("write"),
        &|| super::site::mode(&path, 0o600),
        &|| fs::rename(site.tree.join("sub/b"), site.tree.join("sub/c")).expect("rename"),
        &|| drop(output("setfattr", &["-n", "user.a", "-v", "1", &path.display().to_string()])),
        &|| drop(output("setfattr", &["-n", "user.a", "-v", "1", &folder])),
        &|| drop(output("setfattr", &["-n", "system.posix_acl_default", "-v", list, &folder])),
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        let taken = site.json(&["backup", "files/tree", "--only-changes"]);
        assert!(taken["id"].is_string(), "change {number}: {taken}");
    }
    assert_eq!(site.listed(), 7);
}

#[test]
fn a_burst_of_changes_is_noticed_once_it_is_over() {
    let site = Site::new("");
    site.write("sub/a", "1");
    let config = holdfast::config::load(&site.scratch.path().join("holdfast.toml")).expect("a configuration");
    let trees = resources::find(&config, None).expect("the trees");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let stop = AtomicBool::new(false);
    let (noticed, last) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = Instant::now();
            for number in 0.. {
                std::thread::sleep(Duration::from_millis(50));
                if number > 60 || stop.load(Ordering::Relaxed) {
                    break;
                }
                site.write("sub/a", number.to_string());
                last = Instant::now();
            }
            last
        });
        let waited = runtime.block_on(async {
            let watch = trees.watch().await.expect("the trees can be watched");
            tokio::time::timeout(Duration::from_secs(60), watch).await
        });
        let noticed = Instant::now();
        stop.store(true, Ordering::Relaxed);
        waited.expect("a change is noticed in time");
        (noticed, writer.join().expect("the writer"))
    });
    assert!(noticed > last, "it was not waited until the burst was over");
}
