//! Backups that are held while retention is at work.

use std::time::Duration;

use super::store::{Bench, run};
use crate::operations::expire::hold;
use crate::repository::{BackupId, Hold};
use crate::storage::faulty::{Effect, Fault, Operation};
use crate::sys::clock;

async fn hold_for_ever(bench: &Bench, id: &BackupId) -> bool {
    let wanted = Hold { id: id.clone(), until: None, reason: None, made_at: clock::now(), made_on: String::new() };
    hold(&bench.repository, &bench.resource, &wanted).await.unwrap()
}

/// Retention looks, the backup is held and found listed, and retention takes it off the catalog and is killed before it looks again.
#[test]
fn what_is_said_to_be_held_is_listed_though_retention_is_killed() {
    run(async {
        let mut bench = Bench::new().await;
        let first = bench.back_up().await.unwrap();
        bench.back_up().await.unwrap();
        let slow = |milliseconds| Effect::Delay(Duration::from_millis(milliseconds));
        bench.faulty.inject(Fault::on(Operation::List, slow(100)).of("main/holds"));
        bench.faulty.inject(Fault::on(Operation::Delete, slow(2000)).of("main/backups/"));
        let entry = bench.folder.path().join(format!("postgres/main/backups/{first}.json"));
        let killed = async {
            let gone = async {
                while entry.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                done = bench.expire(1) => panic!("it was not killed: {done:?}"),
                () = gone => bench.age_leases(),
            }
        };
        let held = async {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            hold_for_ever(&bench, &first).await
        };
        let ((), is_held) = tokio::join!(killed, held);
        assert_eq!(is_held, bench.listed().await.contains(&first), "it was said that it is held");
        assert!(!is_held && bench.backups.all_holds().await.unwrap().is_empty(), "what is not listed is not held");
    });
}

#[test]
fn a_backup_that_is_held_stays_and_others_go() {
    run(async {
        let mut bench = Bench::new().await;
        let first = bench.back_up().await.unwrap();
        let second = bench.back_up().await.unwrap();
        bench.back_up().await.unwrap();
        assert!(hold_for_ever(&bench, &first).await);
        let removed = bench.expire(1).await.unwrap().removed.unwrap();
        let listed = bench.listed().await;
        assert_eq!((removed.backups, listed.contains(&first), listed.contains(&second)), (1, true, false));
    });
}
