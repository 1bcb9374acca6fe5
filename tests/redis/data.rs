//! Keys of every type and in every form that servers store them in.

use pg_fixtures::redis::{Client, Redis};

/// A library of functions, for servers that have such.
pub const LIBRARY: &str = "#!lua name=holdfast\nredis.register_function('answer', function() return 42 end)";

/// Fills a server: several databases, all types, keys that expire.
pub fn fill(server: &Redis) {
    let mut client = server.client();
    for database in ["0", "3", "15"] {
        client.ask(&["SELECT", database]);
        strings(&mut client);
        collections(&mut client);
        hashes(&mut client);
        streams(&mut client);
    }
    // Servers before version 7 have no functions.
    drop(client.try_ask(&["FUNCTION", "LOAD", LIBRARY]));
}

fn strings(client: &mut Client) {
    for (key, value) in [("empty", ""), ("tiny", "7"), ("short", "-1234"), ("int", "1234567"), ("long", "12345678901234")] {
        client.ask(&["SET", key, value]);
    }
    client.ask(&["SET", "compressible", &"abcabc".repeat(5000)]);
    client.ask(&[&b"SET"[..], b"binary", &noise(70_000)]);
    client.ask(&[&b"SET"[..], b"key \x00\xff\r\n", b"binary name"]);
    client.ask(&["SET", &"a long name ".repeat(50), "1"]);
    client.ask(&["SET", "123", "a name that is a number"]);
    client.ask(&["SET", "expires", "1", "EX", "100000"]);
    client.ask(&["PFADD", "loglog", "a", "b", "c"]);
    client.ask(&["SETBIT", "bits", "100", "1"]);
}

fn collections(client: &mut Client) {
    for number in 0..700 {
        let number = number.to_string();
        let text = format!("member {number}");
        client.ask(&["RPUSH", "list", &number, &text]);
        client.ask(&["SADD", "set", &text]);
        client.ask(&["ZADD", "sorted", &format!("{number}.25"), &text]);
    }
    client.ask(&[&b"RPUSH"[..], b"list of large", &noise(20_000), b"small"]);
    client.ask(&["RPUSH", "list small", "1", "two"]);
    client.ask(&["SADD", "set of numbers", "1", "-70000", "5000000000"]);
    client.ask(&["SADD", "set small", "a", "b"]);
    client.ask(&["ZADD", "sorted small", "1", "a", "-inf", "b", "+inf", "c"]);
    client.ask(&["EXPIRE", "sorted small", "200000"]);
}

fn hashes(client: &mut Client) {
    for number in 0..700 {
        client.ask(&["HSET", "hash", &format!("field {number}"), &"value ".repeat(number % 20)]);
    }
    client.ask(&["HSET", "hash small", "a", "1", "b", "two"]);
    // Fields that expire: Redis since 7.4, Valkey since 9.
    for (key, field) in [("hash small", "a"), ("hash", "field 7")] {
        drop(client.try_ask(&["HPEXPIRE", key, "100000000", "FIELDS", "1", field]));
    }
}

fn streams(client: &mut Client) {
    for number in 0..300 {
        client.ask(&["XADD", "stream", "*", "number", &number.to_string(), "text", "some text"]);
    }
    client.ask(&["XADD", "stream", "99999999999999-7", "last", "1"]);
    client.ask(&["XDEL", "stream", "99999999999999-7"]);
    client.ask(&["XGROUP", "CREATE", "stream", "group", "0"]);
    client.ask(&["XGROUP", "CREATE", "stream", "empty group", "$"]);
    client.ask(&["XREADGROUP", "GROUP", "group", "one", "COUNT", "5", "STREAMS", "stream", ">"]);
    client.ask(&["XREADGROUP", "GROUP", "group", "two", "COUNT", "2", "STREAMS", "stream", ">"]);
    client.ask(&["XADD", "stream small", "1-1", "a", "b"]);
    client.ask(&["XTRIM", "stream small", "MAXLEN", "0"]);
}

/// Bytes that cannot be compressed.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(next).take(bytes).collect()
}
