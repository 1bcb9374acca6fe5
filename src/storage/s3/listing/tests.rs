use super::*;

#[test]
fn the_folders_that_bare_names_hide_are_looked_into() {
    let passed = |prefix, after| passed_over(prefix, after).collect::<Vec<_>>();
    assert_eq!(passed("p/", "p/a-b"), ["p/a/"]);
    assert_eq!(passed("p/", "p/a-b.c"), ["p/a/", "p/a-b/"]);
    assert_eq!(passed("p/", "p/a0"), [] as [&str; 0]);
    assert_eq!(passed("p/", "p/-a"), [] as [&str; 0]);
    assert_eq!(passed("p/x", "p/x-b"), ["p/x/"]);
    assert_eq!(passed("p/x-", "p/x-b.c"), ["p/x-b/"]);
    assert_eq!(passed("", "a-b"), ["a/"]);
    assert_eq!(passed("p-q/", "p-q/ab"), [] as [&str; 0]);
}

#[test]
fn a_listing_goes_on_in_the_folder_of_the_last_key() {
    let levels = |prefix, after| {
        let levels = open_levels(prefix, Some(after)).into_iter();
        levels.map(|level| (level.prefix, level.after.unwrap_or_default())).collect::<Vec<_>>()
    };
    let pair = |prefix: &str, after: &str| (prefix.to_owned(), after.to_owned());
    assert_eq!(levels("p/", "p/a/b/c"), [pair("p/", "p/a/"), pair("p/a/", "p/a/b/"), pair("p/a/b/", "p/a/b/c")]);
    assert_eq!(levels("p/", "p/a/"), [pair("p/", "p/a/"), pair("p/a/", "p/a/")]);
    assert_eq!(levels("p/x", "p/x/1"), [pair("p/x", "p/x/"), pair("p/x/", "p/x/1")]);
    assert_eq!(levels("p/", "p/"), [pair("p/", "p/")]);
    assert_eq!(levels("p/", "o"), [pair("p/", "")]);
    assert_eq!(levels("p/", "q"), []);
}

#[test]
fn a_listing_is_asked_for_from_a_little_before_its_place() {
    for (after, asked) in
        [("p/a", "p/`~"), ("p/a0", "p/a.~"), ("p/aA", "p/a@~"), ("p/a/", "p/a/"), ("p/ü", "p/"), ("p/a b ", "p/a b")]
    {
        assert_eq!(just_before(after), asked);
        assert!(asked <= after);
    }
}
