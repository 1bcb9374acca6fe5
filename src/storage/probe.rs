//! Finding out what a store really does, instead of believing it.
//!
//! Services that call themselves S3 differ most in what matters most here: some accept `If-None-Match: *` and overwrite all the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{ConditionalPut, Failure, ObjectKey, Put, Result, Store, list_all};
use crate::sys::clock;

/// How many write the same object at once.
const WRITERS: u8 = 8;

/// Where probes have their folders.
const PROBES: &str = "holdfast-probe/";

/// Whether an object is one that a probe has stored.
#[must_use]
pub fn is_probe(key: &ObjectKey) -> bool {
    key.as_str().starts_with(PROBES)
}

/// Enough for more than one part of an S3 upload.
const LARGE: usize = 17 << 20;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The store's URL.
    pub store: String,
    /// In the order of the looks.
    pub findings: Vec<Finding>,
}

/// One look at the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub ability: &'static str,
    /// Whether it is as it should be.
    pub verdict: Verdict,
    /// What the store does, for people.
    pub detail: String,
}

/// How good a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// There is a second best, which is used from now on.
    Weak,
    /// A repository cannot be kept there.
    Broken,
}

impl Report {
    /// Whether a repository can be kept in the store.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict != Verdict::Broken)
    }

    fn add(&mut self, ability: &'static str, verdict: Verdict, detail: &str) {
        self.findings.push(Finding { ability, verdict, detail: detail.to_owned() });
    }

    fn check(&mut self, ability: &'static str, good: bool, word: &str) {
        match good {
            true => self.add(ability, Verdict::Good, word),
            false => self.add(ability, Verdict::Broken, &format!("it is not so that {word}")),
        }
    }
}

/// Looks at everything, in a folder of its own that is removed afterwards, and tells the store (`set_conditional_put`) what was found.
///
/// # Errors
/// When the store cannot be reached, is missing or refuses: nothing is found out then.
pub async fn run(store: &Arc<dyn Store>) -> Result<Report> {
    let probe = Probe { store: Arc::clone(store), folder: format!("{PROBES}{}", clock::now().as_nanosecond()) };
    let mut report = Report { store: store.url(), findings: Vec::new() };
    let done = probe.look(&mut report).await;
    let cleaned = probe.clean().await;
    done.and(cleaned).map(|()| report)
}

/// Removes what probes left behind that were killed, and that is older than `age`. Returns how many objects there were.
///
/// # Errors
/// When the store cannot be reached or refuses.
pub async fn sweep(store: &dyn Store, age: Duration) -> Result<usize> {
    let mut removed = 0;
    for entry in list_all(store, PROBES).await? {
        let old = Duration::try_from(clock::now().duration_since(entry.modified)).is_ok_and(|since| since >= age);
        if old || age.is_zero() {
            store.delete(&entry.key).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

struct Probe {
    store: Arc<dyn Store>,
    folder: String,
}

impl Probe {
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(format!("{}/{name}", self.folder)).expect("digits and plain names make a key")
    }

    async fn look(&self, report: &mut Report) -> Result<()> {
        self.conditional_put(report).await?;
        self.reading(report).await?;
        self.listing(report).await?;
        self.upload(report).await?;
        self.delete(report).await
    }

    /// Whether objects are created only once: first one after the other, then all at once.
    async fn conditional_put(&self, report: &mut Report) -> Result<()> {
        let weakness = match self.is_put_once().await {
            Ok(true) => self.racing_winners().await.map(|winners| {
                (winners != 1).then(|| format!("of {WRITERS} writers {winners} were told that they had created the same object"))
            })?,
            Ok(false) => Some("accepts the condition (If-None-Match: *) and overwrites all the same".to_owned()),
            Err(error) => match &error.failure {
                Failure::Other(detail) => Some(format!("refuses the condition (If-None-Match: *): {detail}")),
                _ => return Err(error),
            },
        };
        let found = if weakness.is_none() { ConditionalPut::Atomic } else { ConditionalPut::LookedUp };
        self.store.set_conditional_put(found);
        match weakness {
            None => report.add("create-only put", Verdict::Good, "an object is created once, even in a race"),
            Some(_) if !self.is_put_once_looked_up().await? => {
                report.add("create-only put", Verdict::Broken, "a put object is not seen by the next request");
            }
            Some(weakness) => {
                let detail =
                    format!("{weakness}; existence is looked up before each put, which leaves a moment for two writers to race");
                report.add("create-only put", Verdict::Weak, &detail);
            }
        }
        Ok(())
    }

    async fn is_put_once(&self) -> Result<bool> {
        self.puts_once(&self.key("once")).await
    }

    async fn is_put_once_looked_up(&self) -> Result<bool> {
        self.puts_once(&self.key("once-looked-up")).await
    }

    async fn puts_once(&self, key: &ObjectKey) -> Result<bool> {
        let first = self.store.put_if_absent(key, Bytes::from_static(b"first")).await?;
        let second = self.store.put_if_absent(key, Bytes::from_static(b"second")).await?;
        let stored = self.store.get(key).await?;
        Ok((first, second) == (Put::Created, Put::AlreadyExists) && stored == "first")
    }

    async fn racing_winners(&self) -> Result<usize> {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, key) = (Arc::clone(&self.store), self.key("race"));
            writers.spawn(async move { store.put_if_absent(&key, vec![writer; 1000].into()).await });
        }
        let outcomes: Result<Vec<Put>> = writers.join_all().await.into_iter().collect();
        Ok(outcomes?.into_iter().filter(|put| *put == Put::Created).count())
    }

    async fn reading(&self, report: &mut Report) -> Result<()> {
        let (key, body) = (self.key("read"), pattern(100_000));
        self.store.put_if_absent(&key, body.clone()).await?;
        let whole = self.store.get(&key).await? == body && self.store.size(&key).await? == Some(100_000);
        report.check("read", whole, "an object is read back as it was put");
        let part = self.store.get_range(&key, 50_000..60_000).await? == body.slice(50_000..60_000);
        report.check("range read", part, "a part of an object can be read alone");
        let absent = self.store.get(&self.key("absent")).await.is_err_and(|error| error.is_not_found());
        report.check("absence", absent, "an absent object is said to be absent");
        Ok(())
    }

    async fn listing(&self, report: &mut Report) -> Result<()> {
        let mut keys = ["list/b", "list/a/c", "list/a-b"].map(|name| self.key(name));
        for key in &keys {
            self.store.put_if_absent(key, Bytes::from_static(b"x")).await?;
        }
        keys.sort();
        let listed = list_all(&*self.store, &format!("{}/list/", self.folder)).await?;
        let names: Vec<ObjectKey> = listed.into_iter().map(|entry| entry.key).collect();
        report.check("listing", names == keys, "what was put is listed at once, in order");
        Ok(())
    }

    async fn upload(&self, report: &mut Report) -> Result<()> {
        let body = pattern(LARGE);
        let put = self.upload_of("upload", &body).await?;
        let stored = put == Put::Created && self.store.get(&self.key("upload")).await? == body;
        report.check("upload in parts", stored, "a large object appears whole");
        // So that the store has room for one of them only.
        self.store.delete(&self.key("upload")).await?;
        let again = self.upload_of("read", &body).await?;
        let kept = again == Put::AlreadyExists && self.store.size(&self.key("read")).await? == Some(100_000);
        match (kept, self.store.conditional_put()) {
            (false, ConditionalPut::Atomic) => {
                let detail = "an upload in parts overwrites an object that is there; such uploads have keys of their own";
                report.add("create-only upload", Verdict::Weak, detail);
            }
            _ => report.check("create-only upload", kept, "an upload in parts does not overwrite an object that is there"),
        }
        Ok(())
    }

    async fn upload_of(&self, name: &str, body: &Bytes) -> Result<Put> {
        let mut upload = self.store.upload(&self.key(name)).await?;
        upload.write(body.clone()).await?;
        upload.finish().await
    }

    async fn delete(&self, report: &mut Report) -> Result<()> {
        let key = self.key("read");
        self.store.delete(&key).await?;
        let gone = self.store.size(&key).await?.is_none();
        let unlisted = self.store.list(key.as_str(), None, 10).await?.is_empty();
        report.check("delete", gone && unlisted, "a deleted object is gone at once");
        Ok(())
    }

    async fn clean(&self) -> Result<()> {
        for entry in list_all(&*self.store, &format!("{}/", self.folder)).await? {
            self.store.delete(&entry.key).await?;
        }
        Ok(())
    }
}

/// Bytes of which no two parts that begin at different places in a page look alike.
fn pattern(length: usize) -> Bytes {
    (0..length as u64).map(|position| (position.wrapping_mul(2_654_435_761) >> 16).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}
