//! Uploads of large objects.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Place, noise};
use crate::storage::{Put, Upload};

/// More than two parts of an S3 upload, and not a whole number of them.
const LARGE: usize = 40_000_001;

impl Place {
    async fn begin(&self, name: &str) -> Box<dyn Upload> {
        self.store.upload(&self.key(name)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn upload(&self, name: &str, body: Bytes) -> Put {
        let mut upload = self.begin(name).await;
        write(&mut upload, body).await;
        upload.finish().await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Writes in pieces that fit no part's size.
async fn write(upload: &mut Box<dyn Upload>, mut body: Bytes) {
    while !body.is_empty() {
        let piece = body.split_to(body.len().min(1_234_567));
        upload.write(piece).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

pub async fn a_large_upload_appears_whole(place: Place) {
    let body = noise(LARGE, 4);
    let mut upload = place.begin("object").await;
    write(&mut upload, body.clone()).await;
    place.assert_absent("object").await;
    assert_eq!(upload.finish().await.unwrap_or_else(|error| panic!("{error}")), Put::Created);
    assert!(place.get("object").await == body, "40 MB came back changed");
    let key = place.key("object");
    let part = place.store.get_range(&key, 16_000_000..33_000_000).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(part == body.slice(16_000_000..33_000_000), "a part across parts came back changed");
    assert_eq!(place.store.size(&key).await.unwrap_or_else(|error| panic!("{error}")), Some(LARGE as u64));
}

pub async fn a_small_upload_appears_too(place: Place) {
    assert_eq!(place.upload("small", Bytes::from_static(b"small")).await, Put::Created);
    assert_eq!(place.get("small").await, "small");
    assert_eq!(place.upload("empty", Bytes::new()).await, Put::Created);
    assert_eq!(place.get("empty").await, "");
    let part = noise(16 << 20, 5);
    assert_eq!(place.upload("one part", part.clone()).await, Put::Created);
    assert!(place.get("one part").await == part, "an upload of exactly one part came back changed");
}

pub async fn an_upload_does_not_overwrite(place: Place) {
    for (name, body) in [("small", Bytes::from_static(b"second")), ("large", noise(LARGE, 6))] {
        place.put(name, "first").await;
        assert_eq!(place.upload(name, body).await, Put::AlreadyExists, "{name}");
        assert_eq!(place.get(name).await, "first", "{name}");
    }
    assert_eq!(place.remains().await, 0);
}

/// At the same moment more than one may be told that it won: some services look before they put the parts together, without a lock.
pub async fn of_many_uploads_one_that_won_is_the_object(place: Place) {
    let winners = race(&place).await;
    let stored = place.get("object").await;
    let winner = winners.iter().find(|writer| stored == noise(17 << 20, **writer));
    assert!(winner.is_some(), "the object is none of the winners' ({winners:?})");
}

pub async fn of_many_uploads_one_creates_the_object(place: Place) {
    let winners = race(&place).await;
    assert_eq!(winners.len(), 1, "of 4 uploads {winners:?} created the same object");
}

/// The numbers of those of four uploads of one object that created it.
async fn race(place: &Place) -> Vec<u64> {
    let mut uploads = Vec::new();
    for writer in 0..4 {
        let mut upload = place.begin("object").await;
        write(&mut upload, noise(17 << 20, writer)).await;
        uploads.push((writer, upload));
    }
    let mut finishing = JoinSet::new();
    for (writer, upload) in uploads {
        finishing.spawn(async move { (writer, upload.finish().await) });
    }
    let outcomes =
        finishing.join_all().await.into_iter().map(|(writer, put)| (writer, put.unwrap_or_else(|error| panic!("{error}"))));
    outcomes.filter(|(_, put)| *put == Put::Created).map(|(writer, _)| writer).collect()
}

impl Place {
    /// What uploads left behind, removed by this.
    async fn remains(&self) -> usize {
        self.store.sweep(Duration::ZERO, |_| true).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

pub async fn an_aborted_upload_leaves_nothing(place: Place) {
    for (name, size) in [("small", 10), ("large", LARGE)] {
        let mut upload = place.begin(name).await;
        write(&mut upload, noise(size, 7)).await;
        upload.abort().await.unwrap_or_else(|error| panic!("{error}"));
        place.assert_absent(name).await;
    }
    assert_eq!(place.remains().await, 0);
}

pub async fn a_dropped_upload_leaves_no_object(place: Place) {
    for (name, size) in [("small", 10), ("large", LARGE)] {
        let mut upload = place.begin(name).await;
        write(&mut upload, noise(size, 8)).await;
        drop(upload);
        place.assert_absent(name).await;
        assert_eq!(place.put(name, "other").await, Put::Created);
        assert_eq!(place.get(name).await, "other");
    }
}
