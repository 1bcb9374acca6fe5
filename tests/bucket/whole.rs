//! A whole bucket, there and back.

use aws_sdk_s3::primitives::ByteStream;

use super::site::{Portrait, Site, content};

/// Fills the source with objects of every sort.
fn fill(site: &Site) {
    for (number, bytes) in [0, 1, 511, 512, 513, 70_000, 1 << 20, (1 << 20) + 1, 9_500_000].into_iter().enumerate() {
        site.put(&format!("sizes/{bytes}"), content(number as u64, bytes));
    }
    let described = site.client().put_object().bucket(&site.source).key("described/größe.html");
    let described = described
        .body(ByteStream::from_static(b"<p>"))
        .content_type("text/html; charset=utf-8")
        .cache_control("max-age=60")
        .content_disposition("attachment")
        .content_language("de")
        .metadata("owner", "ops")
        .metadata("case-number", "12 & 13")
        .tagging("stage=a%20b%2Bc&kept=yes");
    site.wait(described.send()).expect("put a described object");
}

#[test]
fn a_bucket_comes_back_with_all_that_its_objects_carry() {
    let site = Site::new();
    fill(&site);
    let taken = site.backup();
    assert_eq!((&taken["objects"], &taken["read_objects"], &taken["left_out"]), (&10.into(), &10.into(), &0.into()), "{taken}");
    assert_eq!(site.json(&["verify"])["sound"], true);
    let to = format!("s3://{}/below/here", site.other);
    let restored = site.json(&["restore", "bucket/data", "--to", &to]);
    assert_eq!(restored["result"]["written"]["objects"], 10, "{restored}");
    let strip = |portrait: Portrait| -> Portrait {
        portrait.into_iter().map(|(key, about)| (key.replacen("below/here/", "", 1), about)).collect()
    };
    assert_eq!(strip(site.portrait(&site.other)), site.portrait(&site.source));
    let again = site.json(&["restore", "bucket/data", "--to", &to]);
    assert_eq!(
        (&again["result"]["written"]["objects"], &again["result"]["right"]["objects"]),
        (&0.into(), &10.into()),
        "{again}"
    );
}

#[test]
fn source_and_repository_may_be_buckets_of_one_server() {
    let site = Site::new();
    fill(&site);
    site.configure("", &site.repository_in_a_bucket());
    site.run(&["init"]);
    site.backup();
    site.put("sizes/70000", content(100, 70_000));
    assert_eq!(site.backup()["read_objects"], 1);
    assert_eq!(site.json(&["verify"])["sound"], true);
    let before = site.portrait(&site.source);
    for key in site.keys(&site.source) {
        site.delete(&key);
    }
    site.run(&["restore", "bucket/data", "--apply"]);
    assert_eq!(site.portrait(&site.source), before);
}
