//! Work that waits for a bucket which fails and is asked again: it says so meanwhile, and what failed last when it is stopped.

use std::time::Duration;

use super::error::{Error, Result};
use crate::resources::{self, Progress, Run};
use crate::storage::s3::Bucket;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// What is said begins so, and is shown when it stands for a few seconds.
const WAITING: &str = "waiting for the bucket";

/// Works until it is done or the run is cancelled; while the bucket is asked again and again, the progress says why.
///
/// # Errors
/// Those of the work, and that it was cancelled.
pub(super) async fn told<T>(run: &Run, bucket: &Bucket, work: impl Future<Output = Result<T>>) -> resources::Result<T> {
    let told = async {
        tokio::select! {
            done = work => done,
            () = tell(&run.progress, || bucket.trouble()) => std::future::pending().await,
        }
    };
    let done = run.until_cancelled(told).await;
    match bucket.trouble() {
        Some(trouble) if done.is_err() && run.cancelled.is_cancelled() => Err(Error::StoppedWaiting(trouble).into()),
        _ => done,
    }
}

/// Says what there is to wait for while there is, and then again what was said before. It does not end.
async fn tell(progress: &Progress, trouble: impl Fn() -> Option<String>) {
    let mut before: Option<String> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        match trouble() {
            Some(trouble) if before.is_none() => {
                before = Some(progress.said());
                progress.say(format!("{WAITING}, which is asked again: {trouble}"));
            }
            Some(_) => {}
            None => {
                let said = before.take().filter(|_| progress.said().starts_with(WAITING));
                said.into_iter().for_each(|said| progress.say(said));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::Compression;
    use crate::repository::Repository;
    use crate::storage::FileStore;
    use crate::storage::s3::{Credentials, Options};

    /// A bucket at a port on which nobody listens.
    async fn away() -> Bucket {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let keys = Credentials { access_key_id: "a".to_owned(), secret_access_key: "b".to_owned(), session_token: None };
        let endpoint = Some(format!("http://127.0.0.1:{port}"));
        let region = Some("us-east-1".to_owned());
        Bucket::connect(Options { endpoint, region, credentials: Some(keys), ..Options::new("b", "") }).await
    }

    #[tokio::test]
    async fn a_bucket_that_is_waited_for_is_spoken_of_and_named_when_that_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::create(folder.path()).await.unwrap());
        let (repository, _) = Repository::create(store, Compression::default()).await.unwrap();
        let (progress, mut shown) = Progress::new();
        let run = Run { progress, ..Run::new(repository) };
        let bucket = away().await;
        let work = async { Result::Ok(bucket.page("", None, 1).await?) };
        let stop = async {
            let waits = shown.wait_for(|doing| doing.what.starts_with(WAITING)).await.unwrap().what.clone();
            run.cancelled.cancel();
            waits
        };
        let (stopped, said) = tokio::join!(told(&run, &bucket, work), stop);
        assert!(said.contains("list s3://b"), "{said}");
        let why = stopped.expect_err("it was stopped");
        assert!(why.to_string().starts_with("cancelled while waiting for the bucket: list s3://b"), "{why}");
        assert!(why.hint().is_some_and(|hint| hint.contains("endpoint")));
    }

    #[tokio::test]
    async fn what_was_said_before_is_said_again_when_the_bucket_answers() {
        let (progress, mut shown) = Progress::new();
        progress.say("listing");
        let trouble = std::sync::Mutex::new(Some("connection refused".to_owned()));
        let look = async {
            let waits = shown.wait_for(|doing| doing.what != "listing").await.unwrap().what.clone();
            *trouble.lock().unwrap() = None;
            shown.wait_for(|doing| doing.what == "listing").await.unwrap();
            waits
        };
        let waits = tokio::select! {
            waits = look => waits,
            () = tell(&progress, || trouble.lock().unwrap().clone()) => panic!("it does not end"),
        };
        assert_eq!(waits, "waiting for the bucket, which is asked again: connection refused");
    }
}
