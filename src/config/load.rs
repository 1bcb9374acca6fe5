//! Reading the file, and saying where it is wrong.

use std::path::{Path, PathBuf};

use super::secret::FORMS;
use super::{Config, Error, Result};
use crate::repository::ResourceKind;

/// What later versions configure; said plainly, because to ignore it could store a secret in the clear or keep nothing.
const NOT_YET: [(&str, &str); 3] = [("copies", "offsite copies"), ("alerts", "alerts"), ("drill", "scheduled drills")];

/// Where the configuration is when none is named: `HOLDFAST_CONFIG`, or `/etc/holdfast/holdfast.toml`.
#[must_use]
pub fn default_path() -> PathBuf {
    std::env::var_os("HOLDFAST_CONFIG").map_or_else(|| PathBuf::from("/etc/holdfast/holdfast.toml"), PathBuf::from)
}

/// The fail points that a test arms in this process (`HOLDFAST_FAIL_POINTS`): see `sys::fail_point`.
#[must_use]
pub fn fail_points() -> Option<String> {
    std::env::var("HOLDFAST_FAIL_POINTS").ok()
}

/// Reads and checks a configuration file.
///
/// # Errors
/// When it is not there, or something in it is wrong: with the line.
pub fn load(path: &Path) -> Result<Config> {
    let missing = |error: std::io::Error| Error::Missing { path: path.to_owned(), detail: error.to_string() };
    let text = std::fs::read_to_string(path).map_err(missing)?;
    // The commands that PostgreSQL runs name the file, and run in another directory.
    let absolute = std::path::absolute(path).map_err(missing)?;
    parse(&text, &absolute)
}

/// Checks the text of a configuration; `path` is for messages and for `Config::path`.
///
/// # Errors
/// When something in it is wrong: with the line.
pub fn parse(text: &str, path: &Path) -> Result<Config> {
    let invalid = |line: usize, detail: String| Error::Invalid { path: path.to_owned(), line, detail };
    let mut config: Config = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        invalid(line_of(text, at), explain(error.message(), key_at(text, at)))
    })?;
    // As they are found when a tree is walked, which is what patterns are compared with.
    for tree in config.files.values_mut().flat_map(|section| &mut section.paths) {
        *tree = tree.components().collect();
    }
    if let Some((kind, name, why)) = config.wrong_resource() {
        return Err(invalid(line_of_section(text, kind, &name), why));
    }
    if let Some((offset, detail)) = config.contradiction() {
        return Err(invalid(line_of(text, offset), detail));
    }
    if let Some((key, why)) = config.repository.wrong() {
        return Err(invalid(line_of_key(text, "[repository]", key), why));
    }
    config.hide_secrets();
    config.path = path.to_owned();
    Ok(config)
}

/// The line of a resource's section: `[files.NAME]`, the name in quotes or not.
fn line_of_section(text: &str, kind: ResourceKind, name: &str) -> usize {
    let kind = kind.as_str();
    let headings = [format!("[{kind}.{name}]"), format!("[{kind}.\"{name}\"]"), format!("[{kind}.'{name}']")];
    line_of(text, headings.iter().find_map(|heading| text.find(heading)).unwrap_or(0))
}

/// The line of a key of a section.
fn line_of_key(text: &str, section: &str, key: &str) -> usize {
    let begin = text.find(section).unwrap_or(0);
    line_of(text, text[begin..].find(key).map_or(begin, |found| begin + found))
}

/// Whether there is something before an `@` in the part of a URL that names the host.
pub(super) fn holds_user_info(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().contains('@')
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The key whose value, or whose list with the value, begins there: it stands before it on the line.
fn key_at(text: &str, offset: usize) -> Option<&str> {
    let line = text.get(..offset)?.rsplit('\n').next()?.trim_end();
    let in_list = || line.split_once('[').and_then(|(before, _)| before.trim_end().strip_suffix('='));
    let before = line.strip_suffix('=').or_else(in_list)?.trim_end();
    let key = before.rsplit([' ', '\t', '{', ',', '.']).next()?.trim_matches(['"', '\'']);
    (!key.is_empty()).then_some(key)
}

/// What is said of a value that its key cannot have: both of them, what is expected, and an example. Where a secret belongs, or a table that
/// may hold some, the value is not repeated: it may be a secret that was written in another form.
fn wrong_type(found: &str, expected: &str, key: Option<&str>) -> String {
    let is_table = ["struct ", "a map", "a table"].iter().any(|begin| expected.starts_with(begin));
    let is_hidden = is_table || expected == FORMS;
    let expected = match (key, expected) {
        (Some("run"), _) => "the program and each of its arguments in quotes, as in run = [\"kubectl\", \"get\", \"secrets\"]",
        (Some("url"), "a string") => "a place, as in url = \"file:///var/lib/holdfast\" or url = \"s3://bucket/prefix\"",
        (_, "a string") => "a text in quotes",
        (_, "a sequence") => "a list, as in [\"one\", \"another\"]",
        (_, "a boolean") => "true or false",
        (_, other) if other.starts_with("struct ") || other == "a map" => {
            "a table: { KEY = VALUE, ... }, or a section of its own in brackets"
        }
        (_, other) => other,
    };
    let found = match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ if is_hidden && found.starts_with("string ") => "a text".to_owned(),
        _ if is_hidden => "a value without quotes".to_owned(),
        _ => found.strip_prefix("string ").map_or_else(|| found.replace('`', "'"), |text| format!("the text {text}")),
    };
    let whose = key.map(|key| format!(" of '{key}'")).unwrap_or_default();
    format!("{found} cannot be the value{whose}: expected {expected}")
}

/// Adds the nearest known key to what the parser says of an unknown one, and keeps its words on this program's types to itself.
fn explain(message: &str, key: Option<&str>) -> String {
    let types = message.strip_prefix("invalid type: ").and_then(|types| types.rsplit_once(", expected "));
    if let Some((found, expected)) = types {
        return wrong_type(found, expected, key);
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        return format!("{} is missing here (docs/configuration.md has every key)", missing.replace('`', "'"));
    }
    if let Some((found, _)) = message.rsplit_once("expected struct ") {
        return format!("{found}expected a table: {{ KEY = VALUE, ... }}, or a section of its own in brackets");
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    if let Some((_, what)) = NOT_YET.iter().find(|(key, _)| *key == unknown) {
        return format!("'{unknown}': this version does not have {what} yet; remove the key rather than rely on it");
    }
    let known: Vec<&str> = quoted.collect();
    let nearest = known.iter().max_by(|a, b| strsim::jaro(a, unknown).total_cmp(&strsim::jaro(b, unknown)));
    let likely = nearest.filter(|key| strsim::jaro(key, unknown) > 0.7);
    let meant = likely.map_or_else(|| ".".to_owned(), |key| format!("; did you mean '{key}'?"));
    format!("unknown key '{unknown}'{meant} Known here: {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnChange;

    const GOOD: &str = "[repository]\nurl = \"file:///b\"\n[postgres.main]\nconninfo = \"host=db\"\n";

    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

    fn refusal(text: &str) -> String {
        parse(text, Path::new("/etc/holdfast.toml")).expect_err("a wrong configuration").to_string()
    }

    #[test]
    fn defaults_fill_what_is_not_said() {
        let config = parse(GOOD, Path::new("/c")).expect("a valid configuration");
        let (name, cluster) = config.cluster(None).expect("the only cluster");
        assert_eq!((name.to_string().as_str(), cluster.slot.as_str(), cluster.stream), ("postgres/main", "holdfast", true));
        assert_eq!(cluster.max_delay.0.as_secs(), 1);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        let message = refusal(&format!("{GOOD}max_dealy = \"1s\"\n"));
        assert!(message.starts_with("/etc/holdfast.toml:5: unknown key 'max_dealy'; did you mean 'max_delay'?"), "{message}");
    }

    #[test]
    fn what_this_version_cannot_do_is_not_ignored() {
        let message = refusal(&format!("{GOOD}[copies]\n"));
        assert!(message.contains(":5: 'copies': this version does not have offsite copies"), "{message}");
    }

    #[test]
    fn wrong_values_are_named_with_their_line() {
        assert!(refusal("[repository]\nurl = \"ftp://x\"\n").contains(":2: url = 'ftp://x' is no store"));
        let no_section = refusal("repository = \"file:///b\"\n");
        assert!(no_section.contains("expected a table: { KEY = VALUE, ... }") && !no_section.contains("struct"), "{no_section}");
        assert!(refusal(&format!("{GOOD}max_delay = \"soon\"\n")).contains(":5: 'soon' is not a duration"));
        assert!(refusal(&format!("{GOOD}[postgres.\"a/b\"]\nconninfo = \"\"\n")).contains("'postgres/a/b' is not the name"));
    }

    #[test]
    fn a_value_of_another_type_is_told_with_its_key_and_an_example() {
        let run = |value: &str| refusal(&format!("{GOOD}[command.a]\nrun = {value}\n"));
        let example = "expected the program and each of its arguments in quotes, as in run = [\"kubectl\", \"get\", \"secrets\"]";
        for (value, found) in
            [("\"kubectl get\"", "the text \"kubectl get\""), ("true", "boolean 'true'"), ("[\"a=b\", 5]", "integer '5'")]
        {
            let said = run(value);
            assert!(said.ends_with(&format!(":6: {found} cannot be the value of 'run': {example}")), "{said}");
        }
        for (text, found) in [
            ("[repository]\nurl = 5\n".to_owned(), ":2: integer '5'"),
            (format!("{GOOD}[bucket.a]\nsource = {{ url = [\"s3://a\"] }}\n"), ":6: a list"),
        ] {
            let said = refusal(&text);
            assert!(
                said.contains(&format!("{found} cannot be the value of 'url': expected a place, as in url = \"file:///")),
                "{said}"
            );
        }
        let said = refusal(&format!("{GOOD}synchronous = \"yes\"\n"));
        assert!(said.contains("the text \"yes\" cannot be the value of 'synchronous': expected true or false"), "{said}");
        let said = refusal("[repository]\ncompression = \"lz4\"\n");
        assert!(said.contains("'url' is missing here"), "{said}");
    }

    #[test]
    fn a_value_of_another_type_that_may_be_a_secret_is_not_repeated() {
        for lines in [
            "[redis.a]\nurl = \"redis://a\"\npassword = 7777",
            "[redis]\na = \"redis://:7777@host\"",
            "[dump]\na = \"dbname=a password=7777\"",
            "[command.a]\nrun = [\"a\"]\nenv = \"TOKEN=7777\"",
            "[bucket.a]\nsource = \"s3://key:7777@bucket\"",
        ] {
            let said = refusal(&format!("{GOOD}{lines}\n"));
            assert!(said.contains(" cannot be the value of '") && !said.contains("7777"), "{lines}: {said}");
        }
    }

    #[test]
    fn files_that_overlap_or_are_no_paths_are_refused_with_the_line() {
        let files = |sections: &str| refusal(&format!("{GOOD}{sections}"));
        assert!(
            files("[files.a]\npaths = [\"/etc/a\"]\n[files.b]\npaths = [\"/etc/a/b\"]\n")
                .contains(":7: '/etc/a/b' overlaps with '/etc/a'")
        );
        assert!(files("[files.a]\npaths = [\"/etc/a\", \"/etc/a\"]\n").contains(":5: '/etc/a' overlaps with"));
        for wrong in ["etc", "/", "/etc/../a"] {
            let message = files(&format!("[files.a]\npaths = [\"{wrong}\"]\n"));
            assert!(message.contains(&format!(":5: '{wrong}' is not an absolute path")), "{message}");
        }
        assert!(files("[files.a]\npaths = []\n").contains(":5: paths names nothing"));
        assert!(files("[files.a]\npaths = [\"/etc\"]\nexclude = [\"[\"]\n").contains(":7: '[' is not a pattern"));
        let useless = |pattern: &str| files(&format!("[files.a]\npaths = [\"/etc/a\"]\nexclude = [\"{pattern}\"]\n"));
        assert!(useless("*").contains(":5: the pattern '*' in exclude leaves out all of /etc/a"));
        let slash = files("[files.a]\npaths = [\"/etc/a/\"]\nexclude = [\"/etc/a\"]\n");
        assert!(slash.contains(":5: the pattern '/etc/a' in exclude leaves out all of /etc/a"), "{slash}");
        assert!(useless("/etc/b/*").contains(":5: the pattern '/etc/b/*' in exclude matches nothing"));
        assert!(useless("/etc/a/b/").contains(":7: '/etc/a/b/' is not a pattern: it ends with a slash"));
        assert!(files("[files.a]\npaths = [\"/etc/a\"]\n[files.a]\npaths = [\"/etc/b\"]\n").contains(":7: duplicate key"));
        assert!(files("[files.\"a b\"]\npaths = [\"/etc/a\"]\n").contains(":5: 'files/a b' is not the name"));
        let good = format!("{GOOD}[files.a]\npaths = [\"/etc/a\"]\n[files.b]\npaths = [\"/etc/ab\"]\n");
        let config = parse(&good, Path::new("/c")).expect("a valid configuration");
        let names: Vec<String> = config.resources().map(|name| name.to_string()).collect();
        assert_eq!(names, ["postgres/main", "files/a", "files/b"]);
    }

    #[test]
    fn trees_that_hold_the_repository_are_refused_with_the_line() {
        let files = |repository: &str, section: &str| format!("[repository]\nurl = \"{repository}\"\n[files.a]\n{section}\n");
        for repository in ["file:///srv/a/backups", "/srv/a", "/srv"] {
            let message = refusal(&files(repository, "paths = [\"/srv/a\"]"));
            assert!(
                message.contains(":3: '/srv/a' and the repository") && message.contains("exclude"),
                "{repository}: {message}"
            );
        }
        let scratch = tempfile::tempdir().expect("a directory");
        let [inner, link] = ["tree/repository", "link"].map(|name| scratch.path().join(name));
        std::fs::create_dir_all(&inner).and_then(|()| std::os::unix::fs::symlink(&inner, &link)).expect("a link");
        let section = format!("paths = [\"{}\"]", scratch.path().join("tree").display());
        assert!(refusal(&files(&link.display().to_string(), &section)).contains("lie in one another"), "behind a link");
        for exclude in ["/srv/a", "a", "/srv/a/backups/**"] {
            let good = files("/srv/a/backups", &format!("paths = [\"/srv\"]\nexclude = [\"{exclude}\"]"));
            assert!(parse(&good, Path::new("/c")).is_ok(), "{exclude}");
        }
        assert!(parse(&files("/srv/a/backups", "paths = [\"/srv/b\"]"), Path::new("/c")).is_ok(), "beside it");
    }

    #[test]
    fn what_is_backed_up_on_change_says_how() {
        let on_change = |value: &str| format!("{GOOD}[files.a]\npaths = [\"/etc/a\"]\non_change = {value}\n");
        for (value, expected) in [("true", OnChange::AtOnce), ("\"5m\"", OnChange::Every("5m".parse().expect("a duration")))] {
            let config = parse(&on_change(value), Path::new("/c")).expect("a valid configuration");
            let (name, _) = config.files().next().expect("the files");
            assert_eq!(config.upkeep(&name).and_then(|upkeep| upkeep.on_change), Some(expected));
        }
        assert!(refusal(&on_change("false")).contains(":7: leave on_change out"));
        assert!(refusal(&on_change("\"10ms\"")).contains(":7: '10ms' is too short"));
        assert!(refusal(&format!("{GOOD}on_change = true\n")).contains(":5: unknown key 'on_change'"));
    }

    #[test]
    fn a_program_whose_output_would_lie_in_the_clear_is_refused_with_the_line() {
        let section = "[command.secrets]\nrun = [\"kubectl\"]\n";
        assert!(refusal(&format!("{GOOD}{section}")).contains(":5: the output of a program is stored encrypted only"));
        let encrypted = format!("{GOOD}[encryption]\nrecipients = [\"{RECIPIENT}\"]\n");
        let config = parse(&format!("{encrypted}{section}"), Path::new("/c")).expect("a valid configuration");
        let (name, command) = config.commands().next().expect("a program");
        assert_eq!((name.to_string().as_str(), command.timeout.0.as_secs()), ("command/secrets", 60));
        let watched = refusal(&format!("{encrypted}{section}on_change = true\n"));
        assert!(watched.contains(":7: that the output would differ shows only when the program is run"), "{watched}");
        assert!(refusal(&format!("{encrypted}[command.secrets]\nrun = []\n")).contains(":7: run names no program"));
        let named = refusal(&format!("{encrypted}{section}env = {{ \"A=B\" = \"c\" }}\n"));
        assert!(named.contains(":7: env has a key that cannot be the name of a variable"), "{named}");
    }

    #[test]
    fn a_bucket_that_is_none_or_holds_the_repository_is_refused_with_the_line() {
        let bucket = |source: &str| format!("[bucket.a]\nsource = {{ {source} }}\n");
        assert!(refusal(&format!("{GOOD}{}", bucket("url = \"/a\""))).contains(":5: the source is no bucket"));
        let useless = format!("{GOOD}{}exclude = [\"**\"]\n", bucket("url = \"s3://a\""));
        assert!(refusal(&useless).contains(":5: the pattern '**' in exclude leaves out every object"));
        let shown = bucket("url = \"s3://a\", endpoint = \"http://key:hush-hush@host\"");
        let message = refusal(&format!("{GOOD}{shown}"));
        assert!(message.contains(":5: the endpoint holds user information") && !message.contains("hush"), "{message}");
        let repository = |url: &str| format!("[repository]\nurl = \"{url}\"\n");
        for (url, source) in [("s3://a/b", "s3://a"), ("s3://a/b", "s3://a/b"), ("s3://a", "s3://a")] {
            let text = format!("{}{}", repository(url), bucket(&format!("url = \"{source}\"")));
            assert!(refusal(&text).contains(":3: the repository lies in this source"), "{url} {source}");
        }
        let good = format!("{}{}", repository("s3://a/b"), bucket("url = \"s3://a/bc\""));
        let config = parse(&good, Path::new("/c")).expect("a valid configuration");
        assert_eq!(config.resources().map(|name| name.to_string()).collect::<Vec<_>>(), ["bucket/a"]);
    }

    #[test]
    fn schedules_and_retention_that_make_no_sense_are_refused_with_their_line() {
        for (line, message) in [
            ("schedule = \"0 0 30 2 *\"", ":5: '0 0 30 2 *' never comes"),
            ("schedule = { cron = \"0 0 * * *\", time_zone = \"Mars\" }", ":5: "),
            ("schedule = \"0 25 * * *\"", ":5: '0 25 * * *' is not a schedule: '25' cannot be the hour"),
            ("keep = \"30d\"", "expected a table such as { within = \"30d\", at_least = 2 }"),
            ("objectives = \"1h\"", "expected a table such as { rto = \"1h\", rpo = \"1m\" }"),
            ("keep = {}", ":5: this retention would keep nothing"),
            ("keep = { within = \"0d\" }", ":5: '0d' is not a length of time"),
            ("keep = { within = \"1m\" }", ":5: '1m' is less than an hour: 'm' stands for minutes; months are written as in 1mo"),
            ("keep = { within = \"30d\", at_least = 0 }", ":5: at_least = 0 would keep nothing"),
            ("keep = { witin = \"30d\" }", ":5: unknown key 'witin'; did you mean 'within'?"),
            ("keep_wal = \"7d\"", ":5: keep_wal needs keep"),
            ("objectives = { rpo = \"often\" }", ":5: 'often' is not a duration"),
        ] {
            let refused = refusal(&format!("{GOOD}{line}\n"));
            assert!(refused.contains(message), "{line}: {refused}");
        }
    }

    #[test]
    fn schedules_and_retention_are_read() {
        let more = "schedule = { cron = \"0 2 * * *\", time_zone = \"Europe/Berlin\", jitter = \"5m\" }\n\
                    keep = { within = \"30d\", monthly = 12 }\nkeep_wal = \"8d\"\nobjectives = { rto = \"1h\", rpo = \"1d\" }\n";
        let config = parse(&format!("{GOOD}{more}"), Path::new("/c")).expect("a valid configuration");
        let (name, _) = config.cluster(None).expect("the only cluster");
        let upkeep = config.upkeep(&name).expect("it is configured");
        assert_eq!(upkeep.schedule.map(ToString::to_string), Some("0 2 * * * Europe/Berlin".to_owned()));
        assert_eq!(upkeep.keep.map(|keep| (keep.at_least, keep.monthly)), Some((1, 12)));
        assert_eq!(upkeep.objectives.rpo.map(|rpo| rpo.0.as_secs()), Some(86400));
    }

    #[test]
    fn an_endpoint_with_user_information_is_refused_and_not_repeated() {
        let with = |endpoint: &str| format!("[repository]\nurl = \"s3://b\"\nendpoint = \"{endpoint}\"\n");
        let message = refusal(&with("https://key:hush-hush@s3.example.com"));
        assert!(message.contains(":3: the endpoint holds user information") && !message.contains("hush"), "{message}");
        assert!(parse(&with("https://s3.example.com/a@b"), Path::new("/c")).is_ok());
    }

    #[test]
    fn what_cannot_be_as_it_is_in_the_repository_is_refused_with_its_line() {
        let with = |lines: &str| format!("[repository]\nurl = \"s3://b\"\n{lines}\n");
        for (lines, message) in [
            ("access_key_id = \"a\"", ":3: access_key_id needs secret_access_key"),
            ("region = \"a\"\nsecret_access_key = \"a\"", ":4: secret_access_key needs access_key_id"),
            ("session_token = { env = \"A\" }", ":3: session_token needs access_key_id"),
            ("session_token = { env = \"A=B\" }", ":3: 'A=B' cannot be the name of a variable"),
            ("access_key_id = 3", ":3: a value without quotes cannot be the value of 'access_key_id': expected a text, or { env"),
            ("lease = \"0s\"", ":3: lease must be a second at least"),
            ("storage_class = \"STANDRAD\"", ":3: 'STANDRAD' is no storage class; AWS has STANDARD"),
            ("storage_class = \"\"\nendpoint = \"http://host\"", ":3: '' is no storage class"),
        ] {
            let refused = refusal(&with(lines));
            assert!(refused.contains(message), "{lines}: {refused}");
        }
        for good in ["storage_class = \"COLD\"\nendpoint = \"http://host\"", "storage_class = \"GLACIER_IR\"", "lease = \"1s\""] {
            assert!(parse(&with(good), Path::new("/c")).is_ok(), "{good}");
        }
        let bucket = format!("{GOOD}[bucket.a]\nsource = {{ url = \"s3://a\", access_key_id = \"a\" }}\n");
        assert!(refusal(&bucket).contains(":5: access_key_id needs secret_access_key"));
    }

    #[test]
    fn programs_are_told_of_every_variable_that_holds_a_secret() {
        let env = |name: &str| format!("{{ env = \"{name}\" }}");
        let keys = |id: &str, key: &str, token: &str| {
            format!("access_key_id = {}, secret_access_key = {}, session_token = {}", env(id), env(key), env(token))
        };
        let text = [
            format!("repository = {{ url = \"s3://b\", {} }}", keys("V01", "V02", "V03")),
            format!("encryption = {{ recipients = [\"{RECIPIENT}\"], identity_passphrase = {} }}", env("V04")),
            format!("bucket.a.source = {{ url = \"s3://a\", {} }}", keys("V05", "V06", "V07")),
            format!("postgres.a.conninfo = {}\ndump.a.conninfo = {}", env("V08"), env("V09")),
            format!("redis.a = {{ url = {}, password = {} }}", env("V10"), env("V11")),
            format!("command.a = {{ run = [\"a\"], env = {{ A = {}, B = \"V\" }} }}", env("V12")),
        ];
        let config = parse(&text.join("\n"), Path::new("/c")).expect("a valid configuration");
        let all: Vec<String> = (1..=12).map(|number| format!("V{number:02}")).collect();
        for hidden in [&config.command["a"].hidden, &config.dump["a"].hidden, &config.redis["a"].hidden] {
            assert_eq!(hidden.names().collect::<Vec<_>>(), all);
        }
    }

    #[test]
    fn what_a_failing_command_says_is_not_shown() {
        let text = GOOD.replace("\"host=db\"", "{ command = \"echo hush-hush >&2; exit 3\" }");
        let config = parse(&text, Path::new("/c")).expect("a valid configuration");
        let message = config.postgres["main"].conninfo.reveal().expect_err("a failing command").to_string();
        assert!(
            message.contains("exit status: 3") && message.contains("run it by hand") && !message.contains("hush"),
            "{message}"
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let config = parse(GOOD, Path::new("/c")).expect("a valid configuration");
        assert!(!format!("{config:?}").contains("host=db"));
    }
}
