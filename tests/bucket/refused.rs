//! What is refused, and in which words.

use pg_fixtures::proxy::Proxy;
use pg_fixtures::s3::SeaweedFs;

use super::site::Site;

#[test]
fn a_permission_that_is_lacking_is_named_and_nothing_is_listed() {
    let site = Site::new();
    site.put("a", "content");
    for (identity, needed) in [("no-list", "s3:ListBucket"), ("no-read", "s3:GetObject")] {
        site.configure_as(identity, &format!("s3://{}", site.source), &Site::endpoint(), "", "");
        let said = site.refusal(&["backup", "bucket/data"]);
        assert!(said.contains(&format!("needs the permission {needed}")) && said.contains("not listed"), "{said}");
        let checked = site.try_run(&["check", "bucket/data"]);
        let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.contains(needed), "{checked}");
    }
    assert_eq!((site.listed(), site.stored().len()), (0, 0));
    site.configure("", "");
    site.backup();
    site.configure_as("no-write", &format!("s3://{}", site.source), &Site::endpoint(), "", "");
    let said = site.refusal(&["restore", "bucket/data", "--to", &format!("s3://{}", site.other)]);
    assert!(said.contains("needs the permission s3:PutObject"), "{said}");
}

/// SeaweedFS lets whoever reads an object read its tags too, so a proxy answers as other servers do.
#[test]
fn tags_that_may_not_be_read_are_not_left_out_silently() {
    let site = Site::new();
    site.put("a", "content");
    let proxy = Proxy::to(Site::port());
    proxy.forbid("tagging");
    let configure =
        |more: &str| site.configure_as(SeaweedFs::ACCESS_KEY_ID, &format!("s3://{}", site.source), &proxy.endpoint(), more, "");
    configure("tags = \"always\"");
    let said = site.refusal(&["backup", "bucket/data"]);
    assert!(said.contains("needs the permission s3:GetObjectTagging") && said.contains("not listed"), "{said}");
    assert_eq!((site.listed(), site.stored().len()), (0, 0));
    configure("tags = \"never\"");
    assert_eq!(site.backup()["read_objects"], 1);
}

#[test]
fn a_bucket_that_is_not_there_is_no_empty_one() {
    let site = Site::new();
    site.configure_as("holdfast", "s3://no-such-bucket", &Site::endpoint(), "", "");
    let said = site.refusal(&["backup", "bucket/data"]);
    assert!(said.contains("no-such-bucket") && said.contains("create the bucket"), "{said}");
    assert_eq!((site.listed(), site.stored().len()), (0, 0));
}

#[test]
fn options_of_other_kinds_and_wrong_places_are_refused() {
    let site = Site::new();
    site.put("a", "content");
    site.backup();
    let place = tempfile::tempdir().expect("a place");
    let place = place.path().to_str().expect("its path");
    let said = site.refusal(&["restore", "bucket/data", "--only", "/a", "--to", place]);
    assert!(said.contains("takes none of the options for files"), "{said}");
    let said = site.refusal(&["restore", "bucket/data", "--to", "gs://bucket"]);
    assert!(said.contains("cannot restore to 'gs://bucket'"), "{said}");
    let said = site.refusal(&["restore", "bucket/data", "--key", "b", "--to", place]);
    assert!(said.contains("has no object of the key 'b'"), "{said}");
}

#[test]
fn nothing_is_restored_into_the_repository() {
    let site = Site::new();
    let repository = site.repository_in_a_bucket();
    site.configure("", &repository);
    site.run(&["init"]);
    site.put("a", "content");
    site.backup();
    let before = site.keys(&site.other);
    let own = format!("s3://{}", site.other);
    let places = [own.clone(), format!("{own}/repository"), format!("{own}/repository/bucket/data"), format!("{own}/")];
    for to in &places {
        let said = site.refusal(&["restore", "bucket/data", "--to", to, "--delete-extra", "--apply"]);
        assert!(said.contains("lie one in the other") && said.contains("choose a place outside it"), "{to}: {said}");
    }
    // Under another name of the same host too.
    site.configure("", &repository.replace("127.0.0.1", "localhost"));
    let said = site.refusal(&["restore", "bucket/data", "--to", &own, "--delete-extra", "--apply"]);
    assert!(said.contains("lie one in the other"), "{said}");
    assert_eq!(site.keys(&site.other), before);
    // Beside it there is room.
    site.run(&["restore", "bucket/data", "--to", &format!("{own}/repository-2")]);
    site.run(&["restore", "bucket/data", "--to", &own, "--key", "a"]);
    assert_eq!(site.keys(&site.other).len(), before.len() + 2);
    assert_eq!(site.listed(), 1);
}
