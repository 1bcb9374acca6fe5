//! Listing.

use futures_util::{StreamExt, stream};

use super::{Place, Put};

pub async fn keys_come_in_order_and_only_those_asked_for(place: Place) {
    let mut names = vec!["a", "b/1", "b/2", "b/c/d", "b-c", "b0", "b.c", "c", "d/x/1", "d/y/1"];
    for name in &names {
        place.put(name, name.to_string()).await;
    }
    names.sort_unstable();
    assert_eq!(place.names("", None, 100).await, names);
    for (position, after) in names.iter().enumerate() {
        assert_eq!(place.names("", Some(after), 100).await, names[position + 1..], "after {after}");
        assert_eq!(
            place.names("", Some(after), 2).await,
            names[position + 1..names.len().min(position + 3)],
            "two after {after}"
        );
    }
    assert_eq!(place.names("b/", None, 100).await, ["b/1", "b/2", "b/c/d"]);
    assert_eq!(place.names("b/", Some("b/1"), 100).await, ["b/2", "b/c/d"]);
    assert_eq!(place.names("b/", Some("b/1x"), 100).await, ["b/2", "b/c/d"]);
    assert_eq!(place.names("b/", Some("a"), 100).await, ["b/1", "b/2", "b/c/d"]);
    assert_eq!(place.names("b/", Some("c"), 100).await, [] as [&str; 0]);
    assert_eq!(place.names("d/x", None, 100).await, ["d/x/1"]);
    assert_eq!(place.names("", Some("b/c"), 1).await, ["b/c/d"]);
    assert_eq!(place.names("nothing", None, 100).await, [] as [&str; 0]);
    assert_eq!(place.names("nothing/here/", None, 100).await, [] as [&str; 0]);
    assert_eq!(place.names("", None, 3).await, names[..3]);
}

pub async fn more_than_a_page_is_listed_page_by_page(place: Place) {
    let name = |number: usize| format!("{}/{number:08X}", number / 500);
    let all = place.all().await;
    assert_eq!(all, []);
    let puts = stream::iter(0..2100).map(|number| {
        let (place, name) = (&place, name(number));
        async move { place.put(&name, number.to_string()).await }
    });
    puts.buffer_unordered(16).collect::<Vec<_>>().await;
    let listed: Vec<String> = place.all().await.into_iter().map(|entry| entry.key.to_string()).collect();
    let expected: Vec<String> = (0..2100).map(|number| place.key(&name(number)).to_string()).collect();
    assert_eq!(listed, expected);
    assert_eq!(place.names("", None, 5000).await.len(), 1000, "a page is at most 1000 entries");
    assert_eq!(place.names("", Some(&name(1999)), 1000).await.len(), 100);
    assert_eq!(place.names("", Some(&name(2099)), 1000).await.len(), 0);
}

pub async fn folders_are_those_with_objects_below(place: Place) {
    for name in ["one/1", "one/2", "two/deep/deeper/1", "zero-1", "two-and-a-half/1"] {
        place.put(name, "").await;
    }
    let folders = |prefix: &str| {
        let prefix = format!("{}/{prefix}", place.folder);
        let store = place.store.clone();
        async move { store.folders(&prefix).await.unwrap_or_else(|error| panic!("{error}")) }
    };
    assert_eq!(folders("").await, ["one", "two", "two-and-a-half"]);
    assert_eq!(folders("two/").await, ["deep"]);
    assert_eq!(folders("one/").await, [] as [&str; 0]);
    assert_eq!(folders("nothing/").await, [] as [&str; 0]);
    place.delete("two/deep/deeper/1").await;
    place.delete("one/1").await;
    assert_eq!(folders("").await, ["one", "two-and-a-half"]);
    assert_eq!(folders("two/").await, [] as [&str; 0]);
}

pub async fn a_look_after_a_put_shows_it_among_the_others(place: Place) {
    for name in ["a", "b", "b.parts/1", "b.parts/2", "b0", "c/b"] {
        place.put(name, "12345").await;
    }
    for expected in [Put::Created, Put::AlreadyExists] {
        let (key, prefix) = (place.key("b.parts/3"), place.key("b").to_string());
        let (put, found) = place.store.put_and_look(&key, "67".into(), &prefix).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(put, expected);
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found, ["b", "b.parts/1", "b.parts/2", "b.parts/3", "b0"].map(|name| place.key(name)));
    }
    assert_eq!(&place.get("b.parts/3").await[..], b"67");
    let gone = ["b.parts/1", "b.parts/2", "nothing"].map(|name| place.key(name));
    place.store.delete_all(&gone).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(place.names("b.parts/", None, 100).await, ["b.parts/3"]);
}

pub async fn a_put_is_listed_and_a_delete_is_not(place: Place) {
    for round in 0..20 {
        let name = format!("{round}");
        place.put(&name, "12345").await;
        let listed = place.all().await;
        assert_eq!(listed.iter().map(|entry| (entry.key.clone(), entry.size)).collect::<Vec<_>>(), [(place.key(&name), 5)]);
        place.delete(&name).await;
        assert_eq!(place.all().await, []);
    }
}
