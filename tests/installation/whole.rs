//! The one test: a life, a disaster, and everything brought back.

use std::time::{Duration, Instant};

use super::empty::Empty;
use super::living::Installation;

/// Brings one resource back, and compares it with its source.
type Restore = fn(&Empty);

#[test]
fn the_example_is_backed_up_of_itself_and_comes_back_whole() {
    let installation = Installation::start();
    let holdfast = &installation.holdfast;
    holdfast.start_agent();
    installation.wait_for_first_backups();
    let dump = installation.dump();

    installation.change();
    installation.wait_until_changes_are_stored();
    let status = holdfast.run(&["status"]);
    assert!(!status.contains("FAILED") && !status.contains("OVERDUE"), "{status}");
    let checked = holdfast.run(&["check"]);
    assert!(!checked.contains("WARNING") && !checked.contains("CRITICAL"), "{checked}");
    let verified = holdfast.run(&["verify"]);
    assert!(!verified.contains("DAMAGED") && !verified.contains("not restored on trial"), "{verified}");

    let portraits = installation.portraits(dump);
    let survivors = installation.lose();
    let empty = Empty::new(survivors, portraits);
    let restores: [(&str, u64, Restore); 7] = [
        ("postgres/main", 60, Empty::restores_the_cluster),
        ("dump/hopwhistle", 60, Empty::restores_the_dump),
        ("bucket/recordings", 120, Empty::restores_the_recordings),
        ("redis/cache", 30, Empty::restores_redis),
        ("files/configs", 15, Empty::restores_the_files),
        ("command/k8s-secrets", 30, Empty::restores_the_secrets),
        ("command/ssh-keys", 30, Empty::restores_the_lists),
    ];
    for (resource, minutes, restore) in restores {
        let begun = Instant::now();
        restore(&empty);
        assert!(begun.elapsed() < Duration::from_secs(minutes * 60), "{resource} took {:?}", begun.elapsed());
    }
}
