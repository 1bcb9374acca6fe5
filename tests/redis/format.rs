//! Files as real servers write them: read whole, cut short, and altered.

use std::fs;

use holdfast::resources::redis::rdb::{Checked, Error, check};
use pg_fixtures::dice::Dice;
use pg_fixtures::redis::{Program, Redis};

use super::data::fill;

fn saved(name: &str) -> (Redis, Vec<u8>) {
    let server = Redis::start(&Program::named(name), "");
    fill(&server);
    server.ask(&["SAVE"]);
    let bytes = fs::read(server.directory().join("dump.rdb")).expect("the saved file");
    (server, bytes)
}

fn refused(bytes: &[u8], what: &str) -> Error {
    check(bytes).err().unwrap_or_else(|| panic!("{what} was accepted"))
}

#[test]
fn a_file_that_is_cut_short_or_altered_anywhere_is_refused() {
    let (_server, whole) = saved("redis");
    let Checked { counts, checksum, .. } = check(&whole[..]).expect("a sound file");
    assert!(checksum && counts.is_ok_and(|counts| counts.libraries == 1 && counts.with_expiry == 6));
    let mut dice = Dice::new();
    let places = (0..300).chain(whole.len() - 60..whole.len()).collect::<Vec<_>>();
    let more = (0..300).map(|_| dice.choose(whole.len())).collect::<Vec<_>>();
    for place in places.into_iter().chain(more) {
        refused(&whole[..place], &format!("the first {place} bytes"));
        let mut altered = whole.clone();
        altered[place] ^= 1 << dice.below(8);
        // The checksum's own bytes are zero only where there is none.
        refused(&altered, &format!("byte {place} altered"));
    }
    refused(&[&whole[..], b"x"].concat(), "a byte behind the end");
}

#[test]
fn a_type_that_is_not_known_ends_the_counting_and_not_the_checking() {
    let (_server, valkey) = saved("valkey-9");
    // What Valkey calls a hash whose fields expire has another meaning in a file of Redis, where it is not known.
    let mut unknown = [&b"REDIS0080"[..], &valkey[9..]].concat();
    let end = unknown.len() - 8;
    let checksum = holdfast::resources::redis::rdb::crc(&unknown[..end]);
    unknown[end..].copy_from_slice(&checksum.to_le_bytes());
    let checked = check(&unknown[..]).expect("a sound file");
    assert!(checked.checksum && checked.counts.is_err_and(|why| why.contains("type 22")));
    for place in [unknown.len() / 2, unknown.len() - 1, end - 1] {
        let mut altered = unknown.clone();
        altered[place] ^= 1;
        refused(&altered, &format!("byte {place} altered"));
    }
    refused(&unknown[..unknown.len() - 1], "a cut file");
}
