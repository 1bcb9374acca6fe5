//! Servers that refuse replication, as hosted ones do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use pg_fixtures::redis::{Client, Program, Redis, Value};

use super::data::{fill, noise};
use super::site::Site;

/// What hosted servers do.
const REFUSES: &str = "rename-command PSYNC \"\"\n";

#[test]
fn everything_comes_back_key_by_key_where_replication_is_refused() {
    for program in Program::all() {
        let server = Redis::start(&program, REFUSES);
        fill(&server);
        server.client().ask(&[&b"SET"[..], b"large", &noise(20 << 20)]);
        let site = Site::new(&server.url(), "");
        let taken = site.backup();
        assert!(taken["remarks"].to_string().contains("the keys are of different moments"), "{taken}");
        assert!(taken["remarks"].to_string().contains("PSYNC") && taken["offset"].is_null(), "{taken}");
        assert!(site.run(&["backups"]).contains("key by key"));
        site.install(&program);
        let verified = site.json(&["verify"]);
        assert!(verified["sound"] == true && verified.to_string().contains("has loaded it"), "{verified}");
        let mut restored = Redis::stopped(&program, "");
        site.run(&["restore", "redis/cache", "--to", &restored.directory().display().to_string()]);
        assert!(program.check(&restored.directory().join("dump.rdb")).contains("Checksum OK"));
        restored.restart();
        assert_eq!(restored.client().portrait(), server.client().portrait(), "{}", program.name);
        if program.name != "redis-6" {
            assert!(restored.ask(&["FUNCTION", "LIST"]).shown().contains("holdfast"));
        }
    }
}

/// The version of the file stands at the end of each value, and of functions, which a server before Redis 7 does not have.
#[test]
fn a_first_value_of_any_size_comes_back_where_nothing_tells_the_version_before() {
    for (name, functions) in [("redis-6", ""), ("redis", "rename-command FUNCTION \"\"\n")] {
        let program = Program::named(name);
        let server = Redis::start(&program, &format!("{REFUSES}{functions}"));
        server.client().ask(&[&b"SET"[..], b"large", &noise(20 << 20)]);
        server.client().ask(&[&b"SET"[..], b"larger", &noise(30 << 20)]);
        let site = Site::new(&server.url(), "");
        assert_eq!(site.backup()["keys"], 2);
        let mut restored = Redis::stopped(&program, "");
        site.run(&["restore", "redis/cache", "--to", &restored.directory().display().to_string()]);
        restored.restart();
        assert_eq!(restored.client().portrait(), server.client().portrait(), "{name}");
    }
}

#[test]
fn an_empty_server_has_a_backup_there_too() {
    for name in ["redis-6", "redis"] {
        let program = Program::named(name);
        let server = Redis::start(&program, REFUSES);
        let site = Site::new(&server.url(), "");
        assert_eq!(site.backup()["keys"], 0);
        site.install(&program);
        assert!(site.json(&["verify"]).to_string().contains("has loaded it: 0 keys"));
    }
}

#[test]
fn a_user_with_the_documented_rights_can_be_asked_for_each_key_and_one_with_none_is_told_what_to_grant() {
    let page = include_str!("../../docs/operations.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER scanner")).expect("the page has the command");
    let server = Redis::start(&Program::named("redis"), "");
    fill(&server);
    server.ask(&line.replace("PASSWORD", "hush-hush").split_whitespace().collect::<Vec<_>>());
    server.ask(&["ACL", "SETUSER", "nobody", "on", ">hush-hush", "-@all", "+info"]);
    let site = Site::new(&format!("redis://scanner@127.0.0.1:{}", server.port()), "password = \"hush-hush\"");
    let taken = site.backup();
    assert_eq!(taken["remarks"].as_array().map(Vec::len), Some(1), "{taken}");
    site.configure(&format!("redis://nobody@127.0.0.1:{}", server.port()), "password = \"hush-hush\"", "");
    let said = site.refusal(&["backup", "redis/cache"]);
    assert!(said.contains("NOPERM") && said.contains("REPLCONF") && said.contains("+psync +replconf"), "{said}");
    assert_eq!(site.listed(), 1);
}

#[test]
fn keys_that_come_and_go_meanwhile_make_no_file_that_a_server_refuses() {
    let program = Program::named("redis");
    let server = Redis::start(&program, &format!("{REFUSES}enable-debug-command yes\nhz 100\n"));
    server.ask(&["DEBUG", "POPULATE", "2000", "steady", "50"]);
    let site = Site::new(&server.url(), "");
    site.install(&program);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = server.client();
            for round in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                client.ask(&["DEBUG", "POPULATE", "5000", &format!("passing {round}"), "10"]);
                client.ask(&[
                    "EVAL",
                    "for i = 0, 4999 do redis.call('DEL', KEYS[1] .. ':' .. i) end",
                    "1",
                    &format!("passing {round}"),
                ]);
                client.ask(&["SET", "brief", "1", "PX", "1"]);
            }
        });
        let taken = site.backup();
        stop.store(true, Ordering::Relaxed);
        assert!(taken["keys"].as_u64().is_some_and(|keys| keys >= 2_000), "{taken}");
    });
    let verified = site.json(&["verify"]);
    assert!(verified["sound"] == true && verified.to_string().contains("has loaded it"), "{verified}");
}

/// A server whose tables shrink while they are gone through names keys twice. That cannot be brought about at will, so what stands before a
/// real server here does it: `SCAN` answers with the same names each time.
#[test]
fn a_key_that_is_named_twice_is_taken_once() {
    let program = Program::named("redis");
    let server = Redis::start(&program, REFUSES);
    for key in ["a", "b", "c"] {
        server.ask(&["SET", key, "1"]);
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("open a port");
    let port = listener.local_addr().expect("its address").port();
    let site = Site::new(&format!("redis://127.0.0.1:{port}"), "");
    site.install(&program);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One connection is refused replication, and the next one asks for the keys.
            for connection in listener.incoming().take(2) {
                answer_twice(connection.expect("a connection"), server.client());
            }
        });
        assert_eq!(site.backup()["keys"], 3);
    });
    let verified = site.json(&["verify"]);
    assert!(verified["sound"] == true && verified.to_string().contains("has loaded it: 3 keys"), "{verified}");
}

fn answer_twice(mut connection: TcpStream, mut server: Client) {
    let mut reader = BufReader::new(connection.try_clone().expect("share the connection"));
    while let Some(command) = command(&mut reader) {
        let answer = if command[0] == b"SCAN" {
            let next: &[u8] = if command[1] == b"0" { b"7" } else { b"0" };
            let names = server.ask(&["KEYS", "*"]);
            Ok(Value::Several(vec![Value::Bytes(next.to_vec()), names]))
        } else {
            server.try_ask(&command)
        };
        let answer = answer.map_or_else(|error| format!("-{error}\r\n").into_bytes(), |value| encoded(&value));
        connection.write_all(&answer).expect("answer");
    }
}

/// The parts of the next command; none at the end of the connection.
fn command(reader: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let number = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.get(1..)?.trim_end().parse::<usize>().ok()
    };
    let parts = number(reader)?;
    let part = |_| {
        let mut part = vec![0; number(reader)? + 2];
        reader.read_exact(&mut part).ok()?;
        part.truncate(part.len() - 2);
        Some(part)
    };
    (0..parts).map(part).collect()
}

fn encoded(value: &Value) -> Vec<u8> {
    match value {
        Value::Nothing => b"$-1\r\n".to_vec(),
        Value::Number(number) => format!(":{number}\r\n").into_bytes(),
        Value::Bytes(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        Value::Several(values) => {
            let parts: Vec<u8> = values.iter().flat_map(encoded).collect();
            [format!("*{}\r\n", values.len()).into_bytes(), parts].concat()
        }
    }
}
