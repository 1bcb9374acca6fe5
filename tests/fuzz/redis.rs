//! RDB files: whatever a server sends, or anybody has put into a repository.

use std::fs;

use holdfast::resources::redis::rdb::check;
use pg_fixtures::fuzz::fuzz;
use pg_fixtures::redis::{Program, Redis};

/// Small files with every type of value, with a checksum and without: behind one, only what is not altered is accepted.
fn seeds() -> Vec<Vec<u8>> {
    let saved = |(name, lines): (&str, &str)| {
        let server = Redis::start(&Program::named(name), lines);
        let mut client = server.client();
        for command in [
            "SET text aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa EX 1000",
            "SET number 70000",
            "RPUSH list a b c",
            "SADD set a b",
            "SADD numbers 1 2",
            "ZADD sorted 1 a",
            "HSET hash a 1",
            "HPEXPIRE hash 1000000 FIELDS 1 a",
            "XADD stream * a b",
            "XGROUP CREATE stream group 0",
            "XREADGROUP GROUP group consumer STREAMS stream >",
            "CONFIG SET hash-max-listpack-entries 0 zset-max-listpack-entries 0",
            "HSET large a 1",
            "ZADD scores 1.5 a",
        ] {
            // Not every server has everything.
            drop(client.try_ask(&command.split(' ').collect::<Vec<_>>()));
        }
        client.ask(&["SAVE"]);
        fs::read(server.directory().join("dump.rdb")).expect("the saved file")
    };
    let without = "rdbchecksum no\n";
    [("redis", ""), ("redis-6", without), ("redis", without), ("redis-8", without), ("valkey-9", without)].map(saved).to_vec()
}

#[test]
fn no_rdb_file_breaks_its_reader() {
    fuzz("RDB file", &seeds(), |input| check(input).is_ok());
}
