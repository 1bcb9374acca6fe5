//! What is read again, and what is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use pg_fixtures::proxy::Proxy;
use pg_fixtures::s3::SeaweedFs;
use tokio::runtime::Runtime;

use super::site::{Site, client, content};

/// Lets the backup see the source through a proxy.
fn through(site: &Site, proxy: &Proxy) {
    site.configure_as(SeaweedFs::ACCESS_KEY_ID, &format!("s3://{}", site.source), &proxy.endpoint(), "", "");
}

/// The measure that the project keeps to is 10,000 objects; in a build without optimization, on a machine that has other things to do, that
/// takes long, and times say little. So requests are compared always, and times where the number is asked for.
#[test]
fn an_unchanged_bucket_is_not_read_again() {
    let asked: Option<usize> = std::env::var("HOLDFAST_TEST_OBJECTS").ok().map(|count| count.parse().expect("a number"));
    let objects = asked.unwrap_or(1500);
    let site = Site::new();
    site.put_many((0..objects).map(|number| (format!("{}/{number:05}", number % 10), format!("content {number}").into_bytes())));
    let proxy = Proxy::to(Site::port());
    let requests = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&requests);
    proxy.watch(move |line| {
        counted[usize::from(line.contains("list-type"))].fetch_add(1, Ordering::Relaxed);
    });
    let count = || (requests[0].swap(0, Ordering::Relaxed), requests[1].swap(0, Ordering::Relaxed));
    through(&site, &proxy);
    let begun = Instant::now();
    let first = site.backup();
    let (first_time, (reads, listings)) = (begun.elapsed(), count());
    assert_eq!((&first["objects"], &first["read_objects"]), (&objects.into(), &objects.into()));
    assert!(reads >= objects && listings >= objects / 1000, "{reads} reads and {listings} listings: the proxy does not see all");
    let begun = Instant::now();
    let second = site.backup();
    let (second_time, (reads, listings)) = (begun.elapsed(), count());
    assert_eq!((&second["objects"], &second["read_objects"]), (&objects.into(), &0.into()), "{second}");
    assert_eq!((reads, listings), (0, objects.div_ceil(1000)), "an unchanged bucket is listed and nothing else");
    println!("{objects} objects: the first backup took {first_time:?}, the second {second_time:?}");
    assert!(asked.is_none() || second_time * 10 < first_time, "the first took {first_time:?}, the second {second_time:?}");
    assert!(second["stored_bytes"].as_u64() < first["stored_bytes"].as_u64(), "{first} {second}");
    assert_eq!(site.json(&["verify"])["sound"], true);
}

#[test]
fn only_what_differs_is_read_and_the_same_content_is_stored_once() {
    let site = Site::new();
    for number in 0..20 {
        site.put(&format!("{number}"), content(number, 1000));
    }
    site.put("copy of 3", content(3, 1000));
    let first = site.backup();
    let stored: u64 = first["stored_bytes"].as_u64().expect("a number");
    assert!(stored < 20 * 1000 + 5000, "21 objects with 20 contents took {stored} bytes");
    site.put("7", content(700, 1000));
    site.put("8", content(8, 1001));
    site.put("9 moved", content(9, 1000));
    site.delete("9");
    let second = site.backup();
    assert_eq!((&second["objects"], &second["read_objects"]), (&21.into(), &3.into()), "{second}");
    assert!(second["stored_bytes"].as_u64() < Some(2 * 1000 + 5000), "{second}");
    let to = format!("s3://{}", site.other);
    site.run(&["restore", "bucket/data", "--to", &to]);
    assert_eq!(site.portrait(&site.other), site.portrait(&site.source));
    // And as it was before.
    let first = first["id"].as_str().expect("an id");
    site.run(&["restore", "bucket/data", "--backup", first, "--to", &to, "--delete-extra", "--apply"]);
    assert_eq!(site.keys(&site.other).len(), 21);
    let nine = site.portrait(&site.other).remove("9").expect("the object that was moved later");
    assert_eq!(nine.0, blake3::hash(&content(9, 1000)));
}

#[test]
fn objects_that_vanish_or_change_meanwhile_are_spoken_of() {
    let site = Site::new();
    let size = 9 << 20;
    site.put("changes", content(1, size));
    site.put("vanishes", "soon gone");
    site.put("stays", "here");
    let proxy = Proxy::to(Site::port());
    let (bucket, requests) = (site.source.clone(), Mutex::new(0));
    proxy.watch(move |line| {
        let (client, runtime) = (client(), Runtime::new().expect("a runtime"));
        if line.contains("/vanishes?") {
            runtime.block_on(client.delete_object().bucket(&bucket).key("vanishes").send()).expect("delete it");
        }
        if line.contains("/changes?") {
            let mut requests = requests.lock().expect("a lock");
            *requests += 1;
            // The first piece was of the old version, and so was the look at tags.
            if *requests == 3 {
                let put = client.put_object().bucket(&bucket).key("changes").body(content(2, size + 1).into());
                runtime.block_on(put.send()).expect("change it");
            }
        }
    });
    through(&site, &proxy);
    let taken = site.backup();
    assert_eq!((&taken["objects"], &taken["left_out"]), (&2.into(), &1.into()), "{taken}");
    let remarks = taken["remarks"].to_string();
    assert!(remarks.contains("1 object(s) vanished while the backup was taken: vanishes"), "{remarks}");
    assert!(remarks.contains("1 object(s) changed while they were read, and were read again: changes"), "{remarks}");
    drop(proxy);
    site.configure("", "");
    assert_eq!(site.json(&["verify"])["sound"], true);
    site.run(&["restore", "bucket/data", "--to", &format!("s3://{}", site.other)]);
    assert_eq!(site.portrait(&site.other), site.portrait(&site.source));
}

#[test]
fn what_is_altered_on_its_way_is_read_again_and_no_etag_of_another_kind_fails_a_backup() {
    let site = Site::new();
    site.put("object", "the content as it is there");
    let proxy = Proxy::to(Site::port());
    proxy.alter(b"as it is", b"AS IT IS", 1);
    through(&site, &proxy);
    let taken = site.backup();
    assert!(taken["remarks"].to_string().contains("1 object(s) did not arrive as their ETags say that they are"), "{taken}");
    assert_eq!((&taken["objects"], &taken["left_out"]), (&1.into(), &0.into()), "{taken}");
    site.run(&["restore", "bucket/data", "--to", &format!("s3://{}", site.other)]);
    assert_eq!(site.portrait(&site.other), site.portrait(&site.source));
    // What is always altered alike looks as with a service whose ETags are no sums: it is taken as it comes.
    site.put("always", "the content that always is another");
    proxy.alter(b"that always is", b"THAT ALWAYS IS", usize::MAX);
    let taken = site.backup();
    assert_eq!((&taken["objects"], &taken["remarks"]), (&2.into(), &serde_json::json!([])), "{taken}");
    // Where other ETags are sums, it is said.
    site.put("always", "the content of today that always is another");
    site.put("sound", "content that nobody alters");
    let taken = site.backup();
    let said = taken["remarks"].to_string();
    assert!(said.contains("1 object(s) came twice alike and without the MD5 sum") && said.contains(": always"), "{taken}");
}

#[test]
fn what_is_excluded_is_left_out_and_left_alone() {
    let site = Site::with("exclude = [\"*.tmp\", \"cache/**\"]", "");
    for key in ["a", "a.tmp", "b/c.tmp", "cache/d/e", "cached"] {
        site.put(key, key);
    }
    assert_eq!(site.backup()["objects"], 2);
    site.put("extra", "extra");
    site.run(&["restore", "bucket/data", "--delete-extra", "--apply"]);
    assert_eq!(site.keys(&site.source), ["a", "a.tmp", "b/c.tmp", "cache/d/e", "cached"]);
}

#[test]
fn of_a_versioned_bucket_the_current_versions_are_kept() {
    let site = Site::new();
    site.make_versioned(&site.source);
    site.make_versioned(&site.other);
    site.put("twice", "one");
    site.put("twice", "two");
    site.put("gone", "gone");
    site.delete("gone");
    let taken = site.backup();
    assert_eq!((&taken["objects"], &taken["remarks"]), (&1.into(), &serde_json::json!([])), "{taken}");
    assert_eq!(site.backup()["read_objects"], 0);
    let to = format!("s3://{}", site.other);
    site.put_into(&site.other, "twice", "older");
    site.put_into(&site.other, "extra", "extra");
    site.run(&["restore", "bucket/data", "--to", &to, "--delete-extra", "--apply"]);
    assert_eq!(site.portrait(&site.other), site.portrait(&site.source));
}

#[test]
fn tags_are_read_of_as_many_objects_as_the_section_says() {
    let site = Site::new();
    ["a", "b", "c"].iter().for_each(|key| site.put(key, *key));
    site.tag("a", "colour", "red");
    let (proxy, asked) = (Proxy::to(Site::port()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    proxy.watch(move |line| {
        counted.fetch_add(usize::from(line.contains("tagging")), Ordering::Relaxed);
    });
    // What the backup says that it read, how often it asked for tags, and the colour that it brings back.
    let back_up = |tags: &str, to: &str| {
        let (url, more) = (format!("s3://{}", site.source), format!("tags = \"{tags}\""));
        site.configure_as(SeaweedFs::ACCESS_KEY_ID, &url, &proxy.endpoint(), &more, "");
        asked.store(0, Ordering::Relaxed);
        let read = site.backup()["read_objects"].as_u64();
        let asked = asked.load(Ordering::Relaxed);
        site.run(&["restore", "bucket/data", "--to", &format!("s3://{}/{to}", site.other)]);
        let colour = site.portrait(&site.other)[&format!("{to}/a")].3.get("colour").cloned();
        (read, asked, colour)
    };
    let (read, asked_first, colour) = back_up("changed", "first");
    assert!((1..=3).contains(&asked_first), "{asked_first}");
    assert_eq!((read, colour.as_deref()), (Some(3), Some("red")));
    site.tag("a", "colour", "blue");
    assert_eq!(back_up("changed", "second"), (Some(0), 0, Some("red".to_owned())));
    assert_eq!(back_up("always", "third"), (Some(0), 3, Some("blue".to_owned())));
    site.put("b", "another");
    assert_eq!(back_up("never", "fourth"), (Some(1), 0, None));
}
