//! The objects of a bucket as a resource among others.

use async_trait::async_trait;

use super::error::Result as BucketResult;
use super::restore::{self, RestoreRequest};
use super::source::Source;
use super::{backup, verify, waiting};
use crate::config::Bucket;
use crate::repository::{BackupEntry, ResourceName, WriteLimits};
use crate::resources::{BackedUp, Plan, Resource, RestoreOptions, RestorePlan, Result, Run, Verified, WantedRestore};
use crate::storage::retry::Policy;
use crate::storage::s3::Reading;

/// A look that is to be short goes over so many objects.
const LOOK_OBJECTS_MAX: u64 = 10_000;

/// The objects of a bucket.
#[derive(Debug, Clone)]
pub struct Objects {
    name: ResourceName,
    section: Bucket,
}

impl Objects {
    /// The objects of the bucket of a section.
    #[must_use]
    pub fn new(name: ResourceName, section: &Bucket) -> Self {
        Self { name, section: section.clone() }
    }

    /// Lists some objects, and reads the beginning of the first one, as a backup would.
    async fn look(&self) -> BucketResult<Plan> {
        // A person waits for the answer.
        let source = Source::of(&self.section, Policy::interactive()).await?;
        let mut listing = source.objects();
        let (mut objects, mut bytes, mut has_more) = (0, 0, false);
        while let Some(object) = listing.next().await? {
            if objects == 0 {
                // That it has vanished since, or changed, does not matter here.
                let (Reading::Here(_) | Reading::Changed | Reading::Gone) = source.first(&object.key).await?;
            }
            if objects == LOOK_OBJECTS_MAX {
                has_more = true;
                break;
            }
            objects += 1;
            bytes += object.size;
        }
        let more = if has_more { "more than " } else { "" };
        let found = format!("{more}{objects} objects in {}", source.url());
        let warnings = if objects == 0 { vec![format!("there is no object in {}", source.url())] } else { Vec::new() };
        Ok(Plan { found, plain_bytes: (!has_more).then_some(bytes), warnings })
    }
}

#[async_trait]
impl Resource for Objects {
    fn name(&self) -> &ResourceName {
        &self.name
    }

    async fn plan(&self) -> Result<Plan> {
        Ok(self.look().await?)
    }

    async fn back_up(&self, run: &Run) -> Result<BackedUp> {
        let source = Source::of(&self.section, Policy::default()).await?;
        // The lease comes before the look at earlier backups: retention leaves alone what is referred to from then on.
        let draft = run.begin(&self.name, WriteLimits::default()).await?;
        let bucket = source.bucket().clone();
        let made = waiting::told(run, &bucket, Box::pin(backup::store(run, &draft, source))).await;
        run.conclude(draft, made).await
    }

    async fn verify(&self, run: &Run, backup: &BackupEntry) -> Result<Verified> {
        verify::verify(run, backup).await
    }

    async fn plan_restore(&self, run: &Run, backup: &BackupEntry, wanted: &WantedRestore) -> Result<Box<dyn RestorePlan>> {
        let request = match &wanted.options {
            RestoreOptions::Bucket(request) => request.clone(),
            _ => RestoreRequest::default(),
        };
        let plan = run.until_cancelled(restore::plan(run, &self.section, backup, wanted.to.as_deref(), request)).await?;
        Ok(Box::new(plan))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::parse;

    #[tokio::test]
    async fn a_look_at_a_bucket_that_is_away_ends_within_seconds() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let source =
            format!("url = \"s3://b\", endpoint = \"http://127.0.0.1:{port}\", access_key_id = \"a\", secret_access_key = \"b\"");
        let text = format!("[repository]\nurl = \"file:///r\"\n[bucket.a]\nsource = {{ {source} }}\n");
        let config = parse(&text, std::path::Path::new("/c")).unwrap();
        let (name, section) = config.buckets().next().unwrap();
        let look = tokio::time::timeout(Duration::from_secs(20), Objects::new(name, section).plan()).await;
        let refused = look.expect("it ends in time").expect_err("nobody listens there");
        assert!(refused.is_retryable() && refused.to_string().contains("s3://b"), "{refused}");
    }
}
