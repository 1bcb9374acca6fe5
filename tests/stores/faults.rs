//! A real S3 server that dies, and a network that breaks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use holdfast::storage::retry::Policy;
use holdfast::storage::{Failure, IsOwn, ObjectKey, Put, Retrying, S3Store, Store, s3};
use pg_fixtures::proxy::{Fault, Proxy};
use pg_fixtures::s3::SeaweedFs;

use super::seaweed;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).expect("a plain name")
}

/// Bytes that SeaweedFS cannot compress.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(next).collect::<Vec<u8>>().into()
}

/// A store that is asked once only, through a proxy.
async fn through(proxy: &Proxy, bucket: &str) -> S3Store {
    S3Store::connect(s3::Options { retry: Policy::once(), ..seaweed::options(proxy.endpoint(), bucket) }).await
}

fn assert_unavailable(failure: &Failure) {
    assert!(matches!(failure, Failure::Unavailable(_)), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_is_unavailable_and_then_works_again() {
    let mut server = SeaweedFs::start();
    let store = seaweed::bucket(&server, "dies").await;
    store.put_if_absent(&key("before"), "before".into()).await.unwrap();
    let mut upload = store.upload(&key("upload")).await.unwrap();
    upload.write(noise(20 << 20)).await.unwrap();
    server.kill();
    assert_unavailable(&store.get(&key("before")).await.unwrap_err().failure);
    assert_unavailable(&store.put_if_absent(&key("after"), "after".into()).await.unwrap_err().failure);
    assert_unavailable(&store.list("", None, 10).await.unwrap_err().failure);
    assert_unavailable(&store.size(&key("before")).await.unwrap_err().failure);
    // What was begun goes on when the server is back: a put that waits for it, and the upload.
    let waiting = Retrying::new(store.clone(), Policy::default());
    let put = tokio::spawn(async move { waiting.put_if_absent(&key("after"), "after".into()).await });
    server.restart();
    assert!(matches!(put.await.unwrap().unwrap(), Put::Created | Put::AlreadyExists));
    assert_eq!(store.get(&key("before")).await.unwrap(), "before");
    assert_eq!(store.get(&key("after")).await.unwrap(), "after");
    upload.write(noise(1 << 20)).await.unwrap();
    assert_eq!(upload.finish().await.unwrap(), Put::Created);
    assert!(
        store.get(&key("upload")).await.unwrap() == [noise(20 << 20), noise(1 << 20)].concat(),
        "the upload came out changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_breaks_never_cuts_an_object_short() {
    let server = SeaweedFs::start();
    let direct = seaweed::bucket(&server, "network").await;
    let proxy = Proxy::to(server.port());
    let store = through(&proxy, "network").await;
    a_get_that_breaks_off_is_continued(&direct, &store, &proxy).await;
    a_get_that_breaks_off_without_end_is_unavailable(&store, &proxy).await;
    a_put_that_breaks_off_leaves_nothing(&store, &proxy).await;
    a_put_whose_answer_is_lost_is_found_when_repeated(&direct, &store, &proxy).await;
    an_upload_goes_on_over_broken_connections(&direct, &proxy).await;
    a_server_that_says_nothing_is_not_waited_for_without_end(&store, &proxy).await;
}

async fn a_get_that_breaks_off_is_continued(direct: &S3Store, store: &S3Store, proxy: &Proxy) {
    let body = noise(5 << 20);
    direct.put_if_absent(&key("read"), body.clone()).await.expect("a put");
    proxy.inject(Fault::CutAnswer(1_500_000), 2);
    assert!(store.get(&key("read")).await.expect("a get that is continued") == body, "a continued get came back changed");
    assert_eq!(proxy.pending(), 0, "no connection was cut");
    proxy.inject(Fault::CutAnswer(500_000), 2);
    let part = store.get_range(&key("read"), 1_000_000..4_000_000).await.expect("a range that is continued");
    assert!(part == body.slice(1_000_000..4_000_000), "a continued range came back changed");
    assert_eq!(proxy.pending(), 0, "no connection was cut");
}

async fn a_get_that_breaks_off_without_end_is_unavailable(store: &S3Store, proxy: &Proxy) {
    // The headers pass, and next to nothing of the body.
    proxy.inject(Fault::CutAnswer(100), usize::MAX);
    assert_unavailable(&store.get(&key("read")).await.expect_err("a get of nothing").failure);
    proxy.heal();
}

async fn a_put_that_breaks_off_leaves_nothing(store: &S3Store, proxy: &Proxy) {
    proxy.inject(Fault::CutRequest(1 << 20), 1);
    assert_unavailable(&store.put_if_absent(&key("cut"), noise(5 << 20)).await.expect_err("a put that is cut").failure);
    proxy.heal();
    assert_eq!(store.size(&key("cut")).await.expect("a size"), None, "a part of an object was stored");
}

async fn a_put_whose_answer_is_lost_is_found_when_repeated(direct: &S3Store, store: &S3Store, proxy: &Proxy) {
    proxy.inject(Fault::CutAnswer(0), 1);
    assert_unavailable(&store.put_if_absent(&key("lost"), "lost".into()).await.expect_err("an answer that is lost").failure);
    assert_eq!(direct.get(&key("lost")).await.expect("the object is there"), "lost");
    assert_eq!(store.put_if_absent(&key("lost"), "lost".into()).await.expect("a put"), Put::AlreadyExists);
}

async fn an_upload_goes_on_over_broken_connections(direct: &S3Store, proxy: &Proxy) {
    let body = noise(40 << 20);
    let store = S3Store::connect(seaweed::options(proxy.endpoint(), "network")).await;
    let mut upload = store.upload(&key("upload")).await.expect("an upload");
    proxy.inject(Fault::CutRequest(3 << 20), 2);
    upload.write(body.slice(..20 << 20)).await.expect("a write");
    upload.write(body.slice(20 << 20..)).await.expect("a write");
    assert_eq!(upload.finish().await.expect("an end"), Put::Created);
    assert_eq!(proxy.pending(), 0, "no connection was cut");
    assert!(direct.get(&key("upload")).await.expect("a get") == body, "the upload came out changed");
}

async fn a_server_that_says_nothing_is_not_waited_for_without_end(store: &S3Store, proxy: &Proxy) {
    let before = Instant::now();
    proxy.inject(Fault::Stall, 1);
    assert_unavailable(&store.size(&key("read")).await.expect_err("a size").failure);
    assert!(before.elapsed() < Duration::from_secs(30), "waited {:?}", before.elapsed());
    proxy.heal();
    assert_eq!(store.size(&key("read")).await.expect("a size"), Some(5 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_or_killed_upload_leaves_is_removed() {
    let server = SeaweedFs::start();
    let store = seaweed::bucket(&server, "remains").await;
    let client = seaweed::client(&server);
    let unfinished = || async {
        let uploads = client.list_multipart_uploads().bucket("remains").send().await.expect("list uploads");
        uploads.uploads().len()
    };
    let mut upload = store.upload(&key("dropped")).await.unwrap();
    upload.write(noise(17 << 20)).await.unwrap();
    assert_eq!(unfinished().await, 1);
    drop(upload);
    let deadline = Instant::now() + Duration::from_secs(20);
    while unfinished().await > 0 {
        assert!(Instant::now() < deadline, "a dropped upload is not aborted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What a killed process leaves: begun, and never heard of again.
    client.create_multipart_upload().bucket("remains").key("holdfast/prefix/killed").send().await.unwrap();
    client.create_multipart_upload().bucket("remains").key("of-others/killed").send().await.unwrap();
    client.create_multipart_upload().bucket("remains").key("holdfast/prefix/of-others").send().await.unwrap();
    let own: IsOwn = |key| key.as_str() == "killed";
    assert_eq!(store.sweep(Duration::from_secs(3600), own).await.unwrap(), 0);
    assert_eq!(unfinished().await, 3);
    assert_eq!(store.sweep(Duration::ZERO, own).await.unwrap(), 1);
    assert_eq!(unfinished().await, 2, "an upload of somebody else was removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_under_way_is_left_alone_however_long_ago_it_began() {
    let server = SeaweedFs::start();
    let store = seaweed::bucket(&server, "slow").await;
    let (first, further) = (noise(17 << 20), noise(48 << 20));
    let mut upload = store.upload(&key("slow")).await.unwrap();
    upload.write(first).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Three parts, of which at most two are on their way.
    upload.write(further).await.unwrap();
    assert_eq!(store.sweep(Duration::from_secs(5), |_| true).await.unwrap(), 0);
    assert_eq!(upload.finish().await.unwrap(), Put::Created);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_missing_buckets_are_told_apart_from_absence() {
    let server = SeaweedFs::start();
    let store = seaweed::bucket(&server, "access").await;
    assert!(store.get(&key("absent")).await.unwrap_err().is_not_found());
    let nowhere = S3Store::connect(seaweed::options(server.endpoint(), "no-such-bucket")).await;
    for failure in answers(&nowhere).await {
        assert!(matches!(failure, Failure::NoStore(_)), "{failure:?}");
    }
    let mut options = seaweed::options(server.endpoint(), "access");
    options.credentials.as_mut().unwrap().secret_access_key = "wrong".to_owned();
    let denied = S3Store::connect(options).await;
    for failure in answers(&denied).await {
        assert!(matches!(failure, Failure::Denied(_)), "{failure:?}");
    }
}

/// What each operation says of an absent object.
async fn answers(store: &S3Store) -> Vec<Failure> {
    let key = key("absent");
    vec![
        store.get(&key).await.expect_err("a get").failure,
        store.get_range(&key, 0..1).await.expect_err("a range").failure,
        store.size(&key).await.expect_err("a size").failure,
        store.list("", None, 10).await.expect_err("a list").failure,
        store.folders("").await.expect_err("folders").failure,
        store.put_if_absent(&key, Bytes::new()).await.expect_err("a put").failure,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_late_is_retried_within_the_deadline() {
    // Nothing listens on this port any more.
    let gone = Proxy::to(1);
    let options = seaweed::options(gone.endpoint(), "bucket");
    let store = Arc::new(S3Store::connect(options).await);
    let policy = Policy { deadline: Duration::from_secs(2), ..Policy::default() };
    let before = Instant::now();
    let error = Retrying::new(store, policy).get(&key("a")).await.unwrap_err();
    assert_unavailable(&error.failure);
    // No wait begins that would reach past the deadline, and waits double with some randomness: the last attempt is after 0.7 s at the least.
    assert!((Duration::from_millis(700)..Duration::from_secs(10)).contains(&before.elapsed()), "{:?}", before.elapsed());
}
