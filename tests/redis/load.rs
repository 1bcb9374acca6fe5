//! Servers that are in use meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use pg_fixtures::redis::{Program, Redis, Value};

use super::site::Site;

/// Each round sets all keys to the same number, in one transaction: a file of one moment never has two numbers.
#[test]
fn a_backup_under_write_load_is_of_one_moment() {
    for (name, lines) in [("redis", "repl-diskless-sync yes\n"), ("redis", "repl-diskless-sync no\n"), ("valkey-9", "")] {
        let program = Program::named(name);
        let server = Redis::start(&program, &format!("{lines}enable-debug-command yes\n"));
        server.ask(&["DEBUG", "POPULATE", "20000", "filler", "200"]);
        let site = Site::new(&server.url(), "");
        let stop = AtomicBool::new(false);
        let counters: Vec<String> = (0..50).map(|number| format!("counter {number}")).collect();
        let rounds = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut client, mut round) = (server.client(), 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    client.ask(&["MULTI"]);
                    for counter in &counters {
                        client.ask(&["SET", counter, &round.to_string()]);
                    }
                    client.ask(&["EXEC"]);
                }
                round
            });
            for _ in 0..3 {
                site.backup();
            }
            stop.store(true, Ordering::Relaxed);
            writer.join().expect("the writer")
        });
        assert!(rounds > 10, "the server answered only {rounds} rounds meanwhile");
        let mut restored = Redis::stopped(&program, "");
        site.run(&["restore", "redis/cache", "--to", &restored.directory().display().to_string()]);
        restored.restart();
        let command = [&["MGET"][..], &counters.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        let values = restored.ask(&command);
        let first = values.several().first().cloned().unwrap_or(Value::Nothing);
        assert!(first != Value::Nothing && values.several().iter().all(|value| *value == first), "{}", values.shown());
    }
}

#[test]
fn a_server_that_waits_for_further_replicas_is_waited_for() {
    let server = Redis::start(&Program::named("redis"), "");
    server.ask(&["CONFIG", "SET", "repl-diskless-sync-delay", "3"]);
    server.ask(&["SET", "a", "1"]);
    let site = Site::new(&server.url(), "");
    assert_eq!(site.backup()["keys"], 1);
}
