//! Servers that do not let Holdfast in, or cannot serve it.

use std::io::{Read, Write};
use std::net::TcpListener;

use pg_fixtures::agent::Holdfast;
use pg_fixtures::postgres::{Builder, Cluster, Installation};

use crate::support::{configuration, names, refusal};

/// What `init` says about a server, given as the role's conninfo.
fn init_fails(conninfo: &str, words: &[&str]) {
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(conninfo));
    names(&refusal(&holdfast, &["init"], 1), words);
    let lineages = holdfast.scratch().path().join("store/postgres");
    assert!(!lineages.exists(), "something was written for a cluster that cannot be used");
}

fn cluster() -> Builder {
    Cluster::builder(&Installation::newest())
}

#[test]
fn a_role_that_is_not_let_in_is_told_what_to_change() {
    let closed = "host replication locked 127.0.0.1/32 scram-sha-256\nlocal replication barred reject";
    let cluster = cluster().hba(closed).start();
    cluster.sql(
        "CREATE ROLE locked LOGIN REPLICATION PASSWORD 'right'; CREATE ROLE barred LOGIN REPLICATION; CREATE ROLE plain LOGIN",
    );
    let wrong = format!("{} password=wrong-one", cluster.tcp_conninfo_of("locked"));
    init_fails(&wrong, &["password authentication failed", "locked", "hint:", "password"]);
    init_fails(&cluster.conninfo_of("barred"), &["pg_hba.conf", "hint:", "replication"]);
    init_fails(&cluster.conninfo_of("plain"), &["REPLICATION", "hint:"]);
}

#[test]
fn a_server_that_has_no_room_is_told_apart_from_one_that_cannot() {
    let full = cluster().setting("max_replication_slots", "1").start();
    full.sql("SELECT pg_create_physical_replication_slot('another')");
    init_slot_fails(&full, &["max_replication_slots", "hint:"]);
    let none = cluster().setting("max_wal_senders", "0").start();
    init_fails(&none.conninfo(), &["max_wal_senders", "hint:"]);
    let minimal = cluster().setting("wal_level", "minimal").setting("max_wal_senders", "0").start();
    init_fails(&minimal.conninfo(), &["hint:", "wal_level"]);
}

/// The cluster itself can be used, and is known then; only its slot is missing.
fn init_slot_fails(cluster: &Cluster, words: &[&str]) {
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(&cluster.conninfo()));
    names(&refusal(&holdfast, &["init"], 1), words);
    cluster.sql("SELECT pg_drop_replication_slot('another')");
    names(&holdfast.run(&["init"]), &["replication slot 'holdfast' created"]);
}

#[test]
fn a_logical_slot_under_our_slots_name_is_told_of_and_left_alone() {
    let cluster = cluster().setting("wal_level", "logical").start();
    let logical = "SELECT pg_create_logical_replication_slot('holdfast', 'pgoutput')";
    cluster.sql(logical);
    let words = ["is a logical one", "choose another name for 'slot'"];
    init_fails(&cluster.conninfo(), &words);
    cluster.sql("SELECT pg_drop_replication_slot('holdfast')");
    let port = pg_fixtures::FreePort::take();
    let agent = format!("[agent]\nlisten = \"127.0.0.1:{}\"\nsocket = \"{{scratch}}/agent.sock\"\n", port.number());
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &format!("{}{agent}", configuration(&cluster.conninfo())));
    holdfast.run(&["init"]);
    cluster.sql("SELECT pg_drop_replication_slot('holdfast')");
    cluster.sql(logical);
    let check = holdfast.try_run(&["check"]);
    assert_eq!(check.status.code(), Some(2));
    names(&String::from_utf8_lossy(&check.stdout), &["CRITICAL  postgres/main: the slot 'holdfast' is a logical one"]);
    holdfast.start_agent();
    let told = || words.iter().all(|word| holdfast.log().contains(word));
    holdfast.wait_until(std::time::Duration::from_secs(60), "the agent tells of the logical slot", told);
    holdfast.kill9();
    assert_eq!(cluster.sql("SELECT slot_type FROM pg_replication_slots"), "logical");
}

#[test]
fn another_clusters_repository_is_refused_before_a_byte_is_written() {
    let (one, other) = (cluster().start(), cluster().start());
    let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(&one.conninfo()));
    holdfast.run(&["init"]);
    holdfast.configure(&configuration(&other.conninfo()));
    for command in ["init", "backup"] {
        let said = refusal(&holdfast, &[command], 1);
        names(&said, &[&one.system_identifier(), &other.system_identifier(), "hint:"]);
    }
    assert_eq!(other.sql("SELECT count(*) FROM pg_replication_slots"), "0", "not even a slot is made");
    assert!(!holdfast.scratch().path().join("store/postgres/main/data").exists());
}

/// A server that lets everybody in and says that it is of this version, and nothing else.
fn server_of_version(version: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let message = |kind: u8, body: &[u8]| {
        let length = u32::try_from(body.len() + 4).expect("a short message").to_be_bytes();
        [&[kind][..], &length, body].concat()
    };
    let parameter = message(b'S', format!("server_version\0{version}\0").as_bytes());
    let welcome = [message(b'R', &[0; 4]), parameter, message(b'Z', b"I")].concat();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut startup = [0; 1024];
            let greeted = stream.read(&mut startup).and_then(|_| stream.write_all(&welcome));
            // Until the client goes away.
            while greeted.is_ok() && stream.read(&mut startup).is_ok_and(|count| count > 0) {}
        }
    });
    format!("host=127.0.0.1 port={port} user=u sslmode=disable connect_timeout=5")
}

#[test]
fn a_server_that_is_too_old_or_too_new_is_told_which_versions_are_supported() {
    let supported = "is not supported; Holdfast supports PostgreSQL 15, 16, 17, 18 and 19";
    for version in ["13.22", "14.19", "20devel"] {
        let major: String = version.chars().take(2).collect();
        let conninfo = server_of_version(version);
        init_fails(&conninfo, &[&format!("PostgreSQL {major} {supported}")]);
        let holdfast = Holdfast::new(env!("CARGO_BIN_EXE_holdfast"), &configuration(&conninfo));
        let check = String::from_utf8_lossy(&holdfast.try_run(&["check"]).stdout).into_owned();
        names(&check, &["CRITICAL  postgres/main", &format!("PostgreSQL {major} {supported}")]);
    }
}
