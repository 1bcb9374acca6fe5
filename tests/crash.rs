//! The crash harness: everything is killed, again and again, before and after every step that makes something durable.
//!
//! A life is one cluster under load with one repository. In each round something of Holdfast (the agent, a backup, a restore, a push,
//! `init`) runs with a fail point armed, and is killed there, or at a random moment if it never gets there; now and then the server
//! is killed, promoted, or robbed of its slot, and the store fails. The oracle: what the server was told is stored, every commit that
//! was acknowledged is in the restored cluster, every listed backup restores and passes `pg_verifybackup`, and in the end nothing lies
//! in the repository that nothing refers to.
//!
//! A short run is part of `make test`; `make soak` sets the limits (`HOLDFAST_SOAK_SECONDS`, `HOLDFAST_SOAK_KILLS`), and
//! `HOLDFAST_TEST_SEED` repeats a run.

#[path = "crash/clients.rs"]
mod clients;
#[path = "crash/garbage.rs"]
mod garbage;
#[path = "crash/life.rs"]
mod life;
#[path = "crash/limits.rs"]
mod limits;
#[path = "crash/oracle.rs"]
mod oracle;
#[path = "crash/points.rs"]
mod points;
#[path = "crash/rounds.rs"]
mod rounds;
#[path = "stores/seaweed.rs"]
mod seaweed;
#[path = "crash/site.rs"]
mod site;
#[path = "crash/stored.rs"]
mod stored;
#[path = "crash/table.rs"]
mod table;
#[path = "crash/victim.rs"]
mod victim;

use std::panic::{AssertUnwindSafe, catch_unwind};

use life::Life;
use limits::Limits;
use pg_fixtures::dice::Dice;
use site::Place;
use table::Table;

#[test]
fn nothing_acknowledged_is_lost_and_no_listed_backup_fails_whatever_is_killed_and_where() {
    let limits = Limits::of_environment();
    let mut dice = Dice::new();
    let table = Table::new();
    let bucket = site::Bucket::start();
    let mut lives = 0;
    while !limits.are_reached(&table) || lives < 2 {
        // Both kinds of stores have their turn, and commits that wait for the store and such that do not.
        let place = if lives % 2 == 0 { Place::Directory } else { Place::Bucket(&bucket, lives) };
        let lived = catch_unwind(AssertUnwindSafe(|| Life::begin(place, lives, &mut dice, &table).live(&mut dice, &limits)));
        if lived.is_err() {
            println!("life {lives} FAILED");
            table.failed();
        }
        lives += 1;
    }
    println!("{}", table.text());
    limits.report(&table, lives);
    assert_eq!(table.failures(), 0, "see above");
    assert!(table.struck() > 0, "no fail point was ever reached");
}

/// Synchronous commits, with the server and the agent killed at random moments, together and alone.
#[test]
fn a_commit_that_a_client_saw_confirmed_is_restored_whatever_is_killed() {
    let (mut dice, table) = (Dice::new(), Table::new());
    let life = Life::begin(Place::Directory, life::SYNCHRONOUS, &mut dice, &table);
    life.backup();
    for round in 1..=12 {
        life.server_or_agent_dies(&mut dice);
        if round % 6 == 0 {
            life.everything_acknowledged_comes_back(round == 6);
        }
    }
    println!("{}", table.text());
}
