//! Putting, reading and deleting single objects.

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Place, noise};
use crate::storage::{ConditionalPut, Put};

pub async fn an_object_is_read_back_as_it_was_put(place: Place) {
    let body = noise(100_000, 1);
    assert_eq!(place.put("object", body.clone()).await, Put::Created);
    assert_eq!(place.get("object").await, body);
    let size = place.store.size(&place.key("object")).await;
    assert_eq!(size.unwrap_or_else(|error| panic!("{error}")), Some(100_000));
    place.store.settle(&place.key("object")).await.unwrap_or_else(|error| panic!("{error}"));
}

pub async fn a_taken_key_is_left_alone(place: Place) {
    assert_eq!(place.put("object", "first").await, Put::Created);
    assert_eq!(place.put("object", "second").await, Put::AlreadyExists);
    assert_eq!(place.put("object", "first").await, Put::AlreadyExists);
    assert_eq!(place.get("object").await, "first");
}

pub async fn an_empty_object_is_an_object(place: Place) {
    assert_eq!(place.put("object", "").await, Put::Created);
    assert_eq!(place.get("object").await, "");
    let key = place.key("object");
    assert_eq!(place.store.get_range(&key, 0..10).await.unwrap_or_else(|error| panic!("{error}")), "");
    assert_eq!(place.store.size(&key).await.unwrap_or_else(|error| panic!("{error}")), Some(0));
    assert_eq!(place.put("object", "more").await, Put::AlreadyExists);
    let listed = place.all().await;
    assert_eq!(listed.iter().map(|entry| (entry.key.clone(), entry.size)).collect::<Vec<_>>(), [(key, 0)]);
}

pub async fn an_absent_object_is_said_to_be_absent(place: Place) {
    place.assert_absent("object").await;
    place.put("object-too", "").await;
    place.put("folder/object", "").await;
    place.assert_absent("object").await;
    place.assert_absent("folder").await;
    place.assert_absent("folder/object/below").await;
}

pub async fn a_range_ends_where_the_object_ends(place: Place) {
    let body = noise(10_000, 2);
    place.put("object", body.clone()).await;
    let key = place.key("object");
    for range in [0..1, 0..10_000, 9_999..10_000, 5_000..5_000, 4_000..6_000, 9_000..20_000, 10_000..10_001, 20_000..30_000] {
        let read = place.store.get_range(&key, range.clone()).await.unwrap_or_else(|error| panic!("{range:?}: {error}"));
        let cut = |position: u64| usize::try_from(position).map_or(10_000, |position| position.min(10_000));
        assert_eq!(read, body.slice(cut(range.start)..cut(range.end)), "{range:?}");
    }
}

pub async fn a_deleted_object_is_gone_and_its_key_free(place: Place) {
    place.put("object", "first").await;
    place.delete("object").await;
    place.assert_absent("object").await;
    place.delete("object").await;
    place.delete("never/there").await;
    assert_eq!(place.put("object", "second").await, Put::Created);
    assert_eq!(place.get("object").await, "second");
}

pub async fn odd_characters_in_keys_are_kept(place: Place) {
    let odd = ["a b", "a+b", "a%20b", "a=b", "[c]", "c#d", "e&f", "e?f", "i'j\"k", "ü-ß-漢", "~tilde", "a:b@c;d,e", "(f)!*$"];
    for name in odd {
        assert_eq!(place.put(name, name.to_owned()).await, Put::Created, "{name:?}");
    }
    for name in odd {
        assert_eq!(place.get(name).await, name, "{name:?}");
    }
    let mut sorted = odd.to_vec();
    sorted.sort_unstable();
    assert_eq!(place.names("", None, 100).await, sorted);
    for (position, name) in sorted.iter().enumerate() {
        assert_eq!(place.names("", Some(name), 100).await, sorted[position + 1..], "after {name:?}");
        place.delete(name).await;
        place.assert_absent(name).await;
    }
}

pub async fn a_segment_sized_object_is_one_put(place: Place) {
    let body = noise(16 << 20, 3);
    assert_eq!(place.put("object", body.clone()).await, Put::Created);
    assert!(place.get("object").await == body, "16 MiB came back changed");
}

pub async fn of_many_writers_one_creates_the_object(place: Place) {
    if place.store.conditional_put() != ConditionalPut::Atomic {
        return;
    }
    for round in 0..5 {
        let key = place.key(&format!("object-{round}"));
        let mut writers = JoinSet::new();
        for writer in 0..16_u64 {
            let (store, key) = (place.store.clone(), key.clone());
            writers.spawn(async move { (writer, store.put_if_absent(&key, noise(50_000, writer)).await) });
        }
        let outcomes: Vec<(u64, Put)> = writers
            .join_all()
            .await
            .into_iter()
            .map(|(writer, put)| (writer, put.unwrap_or_else(|error| panic!("{error}"))))
            .collect();
        let winners: Vec<u64> = outcomes.iter().filter(|(_, put)| *put == Put::Created).map(|(writer, _)| *writer).collect();
        assert_eq!(winners.len(), 1, "of 16 writers {winners:?} created the same object");
        let stored: Bytes = place.get(&format!("object-{round}")).await;
        assert!(stored == noise(50_000, winners[0]), "the object is not the winner's");
    }
}
