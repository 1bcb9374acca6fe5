//! By which clock the plan goes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::SignedDuration;

use super::store::{Bench, rules, run};
use crate::operations::expire::{ExpirePlan, plan_only};
use crate::repository::{BackupId, Hold};
use crate::storage::faulty::{Effect, Fault, Faulty, Operation};
use crate::storage::{ConditionalPut, Entry, Failure, IsOwn, ObjectKey, Put, Result, Store, Upload};
use crate::sys::clock;

const AHEAD: SignedDuration = SignedDuration::from_hours(100 * 24);

/// A store whose clock is ahead of this host's.
#[derive(Debug)]
struct Ahead(Faulty);

#[async_trait]
impl Store for Ahead {
    fn url(&self) -> String {
        self.0.url()
    }

    fn conditional_put(&self) -> ConditionalPut {
        self.0.conditional_put()
    }

    fn set_conditional_put(&self, found: ConditionalPut) {
        self.0.set_conditional_put(found);
    }

    async fn put_if_absent(&self, key: &ObjectKey, body: Bytes) -> Result<Put> {
        self.0.put_if_absent(key, body).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>> {
        self.0.upload(key).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<Bytes> {
        self.0.get(key).await
    }

    async fn get_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.0.get_range(key, range).await
    }

    async fn size(&self, key: &ObjectKey) -> Result<Option<u64>> {
        self.0.size(key).await
    }

    async fn settle(&self, key: &ObjectKey) -> Result<()> {
        self.0.settle(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Entry>> {
        let listed = self.0.list(prefix, after, limit).await?;
        Ok(listed.into_iter().map(|entry| Entry { modified: entry.modified + AHEAD, ..entry }).collect())
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.0.folders(prefix).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.0.delete(key).await
    }

    async fn sweep(&self, age: Duration, own: IsOwn) -> Result<usize> {
        self.0.sweep(age, own).await
    }
}

fn kept(plan: &ExpirePlan) -> Vec<BackupId> {
    plan.backups.iter().filter(|backup| backup.keep).map(|backup| backup.id.clone()).collect()
}

#[test]
fn what_is_shown_goes_by_the_clock_by_which_it_is_done() {
    run(async {
        let mut bench = Bench::over(|faulty| Arc::new(Ahead(faulty))).await;
        let (first, second) = (bench.back_up().await.unwrap(), bench.back_up().await.unwrap());
        let made_at = clock::now();
        let until = Some(made_at + AHEAD / 2);
        let hold = Hold { id: first.clone(), until, reason: None, made_at, made_on: String::new() };
        bench.backups.hold(&hold).await.unwrap();
        let shown = plan_only(&bench.repository, &bench.resource, &rules(1)).await.unwrap();
        assert_eq!(kept(&shown.plan), std::slice::from_ref(&second), "by the store's clock the hold is over");
        bench.faulty.inject(Fault::on(Operation::Put, Effect::Fail(Failure::Denied("no".to_owned()))));
        let shown = plan_only(&bench.repository, &bench.resource, &rules(1)).await.unwrap();
        assert_eq!(kept(&shown.plan), [first, second.clone()], "who may only read is shown what this host's clock says");
        bench.faulty.heal();
        let done = bench.expire(1).await.unwrap();
        assert_eq!(kept(&done.plan), [second]);
    });
}
