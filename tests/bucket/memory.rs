//! Memory does not grow with the bucket: neither with the number of objects nor with their size.

use super::measure::{bounded, measure};
use super::site::{Site, content};

/// The measures that the project keeps to are 200,000 objects and 2048 MiB.
#[test]
fn memory_is_bounded_whatever_is_in_the_bucket() {
    let (objects, megabytes) = (measure("HOLDFAST_TEST_SMALL_OBJECTS", 1500), measure("HOLDFAST_TEST_LARGE_MEGABYTES", 150));
    let site = Site::new();
    site.put_many((0..objects).map(|number| (format!("{}/{number:06}", number % 100), format!("content {number}").into_bytes())));
    site.put_large("large", megabytes);
    site.put("medium", content(1, 20 << 20));
    // The repository in a bucket takes more memory than one in a directory.
    site.configure("", &site.repository_in_a_bucket());
    site.run(&["init"]);
    bounded(&site, &["backup", "bucket/data"]);
    bounded(&site, &["backup", "bucket/data"]);
    bounded(&site, &["verify", "bucket/data"]);
    bounded(&site, &["restore", "bucket/data", "--to", &format!("s3://{}/target", site.other)]);
    let taken = site.json(&["backups"]);
    assert_eq!(taken["backups"][1]["objects"], objects + 2, "{taken}");
}
