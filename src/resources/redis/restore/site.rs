//! What is found where a file is to be restored to: servers that run there, and whether they would load it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where distributions keep the configuration of a server.
const CONFIGURATIONS: [&str; 4] = ["/etc/redis/redis.conf", "/etc/valkey/valkey.conf", "/etc/redis.conf", "/etc/valkey.conf"];

/// A server of this host whose directory that is, by its process id: servers work in it. Only root sees those of other users.
pub(in crate::resources::redis) fn running_in(folder: &Path) -> Option<u32> {
    let place = fs::metadata(folder).ok()?;
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_there = |id: &u32| {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        let works_in = fs::metadata(format!("/proc/{id}/cwd"));
        (name.starts_with("redis-") || name.starts_with("valkey-"))
            && works_in.is_ok_and(|it| (it.dev(), it.ino()) == (place.dev(), place.ino()))
    };
    ids.into_iter().find(is_there)
}

/// What makes a server that starts in this folder ignore the file, as far as it can be seen.
pub(super) fn append_only_traces(folder: &Path) -> Vec<String> {
    let files = ["appendonlydir", "appendonly.aof"].map(|name| folder.join(name));
    let mut traces: Vec<String> =
        files.iter().filter(|path| path.exists()).map(|path| format!("{} is there", path.display())).collect();
    let configurations = CONFIGURATIONS.iter().map(PathBuf::from).chain([folder.join("redis.conf"), folder.join("valkey.conf")]);
    let says_so = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| is_append_only(&text, folder));
    traces.extend(configurations.filter(says_so).map(|path| format!("{} says 'appendonly yes'", path.display())));
    traces
}

/// Whether a configuration is for this folder, or for none that it names, and turns the append-only file on.
fn is_append_only(text: &str, folder: &Path) -> bool {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
        let found = lines.rfind(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let is_here = value("dir").is_none_or(|dir| dir.starts_with('.') || Path::new(&dir) == folder);
    is_here && value("appendonly").is_some_and(|value| value.eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_makes_a_server_ignore_the_file_is_seen() {
        let here = Path::new("/var/lib/redis");
        assert!(is_append_only("dir /var/lib/redis\nappendonly yes\n", here));
        assert!(is_append_only("# appendonly no\nAppendOnly \"yes\"\n", here));
        assert!(!is_append_only("dir /elsewhere\nappendonly yes\n", here));
        assert!(!is_append_only("dir /var/lib/redis\nappendonly yes\nappendonly no\n", here));
    }
}
