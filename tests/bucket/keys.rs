//! Keys with any characters.

use std::collections::BTreeMap;

use super::site::Site;

/// The content under a key as the SDK reads it; `None` where there is none.
fn read(site: &Site, bucket: &str, key: &str) -> Option<Vec<u8>> {
    let output = site.wait(site.client().get_object().bucket(bucket).key(key).send()).ok()?;
    site.wait(output.body.collect()).ok().map(|body| body.into_bytes().to_vec())
}

#[test]
fn keys_may_have_any_characters() {
    let site = Site::new();
    let long = "long/".repeat(190);
    let odd = [
        "a b",
        "a+b",
        "a%2Bb",
        "100%",
        "a&b=c",
        "<x>\"'",
        "größe/日本/🦀",
        "#?;:@[]{}|^`~!$*()",
        "a-b",
        "a",
        "a/b",
        "a/-",
        "a.b",
        " lead",
        "trail ",
        "a\\b",
        "new\nline",
        "tab\tbed",
        "carriage\rreturn",
        "bell\u{7}",
        "del\u{7F}",
        "nbsp\u{A0}",
        "\u{FEFF}mark",
        ".hidden",
        "..dots",
        "a=b,c",
        &long,
    ];
    let mut expected = BTreeMap::new();
    for key in odd {
        let content = format!("content of {key:?}");
        let put = site.client().put_object().bucket(&site.source).key(key).body(content.clone().into_bytes().into());
        // What the server does not take is not there to be backed up.
        if site.wait(put.send()).is_ok() && read(&site, &site.source, key) == Some(content.clone().into_bytes()) {
            expected.insert(key.to_owned(), content.into_bytes());
        }
    }
    // A later key may have displaced an earlier one.
    expected.retain(|key, content| read(&site, &site.source, key).as_ref() == Some(content));
    assert!(expected.len() >= 20, "the server has only {:?}", expected.keys());
    let taken = site.backup();
    // This server gives a key that ends with a slash an ETag that is not the sum of its content.
    let is_of_slash =
        |remark: &serde_json::Value| remark.as_str().is_some_and(|remark| remark.contains("1 object(s) came twice alike"));
    let remarks = taken["remarks"].as_array().expect("remarks");
    assert!(taken["left_out"] == 0 && remarks.iter().all(is_of_slash), "{taken}");
    assert_eq!(site.backup()["read_objects"], 0);
    site.run(&["restore", "bucket/data", "--to", &format!("s3://{}", site.other)]);
    for (key, content) in &expected {
        assert_eq!(read(&site, &site.other, key).as_ref(), Some(content), "{key:?}");
    }
    let to = site.scratch.path().join("target").display().to_string();
    let restored = site.json(&["restore", "bucket/data", "--to", &to]);
    assert_eq!(restored["result"]["written"]["objects"], taken["objects"], "{restored}");
    assert_eq!(site.json(&["restore", "bucket/data", "--to", &to])["plan"]["difference"]["right"]["objects"], taken["objects"]);
}
