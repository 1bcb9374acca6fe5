//! Values that nobody may see: given inline, or taken from the environment, a file or a program.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::environment::is_variable_name;
use super::{Config, Error, RepositorySection, Result};

/// The forms that a secret is written in.
pub(super) const FORMS: &str =
    "a text, or { env = \"VARIABLE\" }, { file = \"/path\" } or { command = \"PROGRAM AND ARGUMENTS\" }";

/// How long a program may take that prints a secret; somebody may have to type a passphrase for it.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// A value that is not shown, and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// It stands in the configuration.
    Inline(String),
    /// It is taken from somewhere else when it is needed.
    From(Source),
}

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// An environment variable.
    Env(String),
    /// The content of a file, without the new line at its end.
    File(PathBuf),
    /// The output of a program run by `sh -c`, without the new line at its end.
    Command(String),
}

/// The names of the variables that the secrets of a configuration are taken from. They are those of this process: no program that it runs is
/// to find them in its environment, unless it is given them.
#[derive(Clone, Debug, Default)]
pub struct SecretVariables(Arc<[String]>);

impl SecretVariables {
    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl Config {
    /// Tells the sections for which programs are run what these must not inherit.
    pub(super) fn hide_secrets(&mut self) {
        let names: BTreeSet<String> = self.secrets().filter_map(Secret::variable).map(str::to_owned).collect();
        let hidden = SecretVariables(names.into_iter().collect());
        self.command.values_mut().for_each(|section| section.hidden = hidden.clone());
        self.dump.values_mut().for_each(|section| section.hidden = hidden.clone());
        self.redis.values_mut().for_each(|section| section.hidden = hidden.clone());
    }

    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let RepositorySection { access_key_id, secret_access_key, session_token, .. } = &self.repository;
        let passphrase = &self.encryption.identity_passphrase;
        let repository = [access_key_id, secret_access_key, session_token, passphrase].into_iter().flatten();
        let buckets = self.bucket.values().map(|section| &section.source);
        let buckets = buckets.flat_map(|source| [&source.access_key_id, &source.secret_access_key, &source.session_token]);
        let servers = self.postgres.values().map(|section| &section.conninfo);
        let servers = servers.chain(self.dump.values().map(|section| &section.conninfo));
        let redis = self.redis.values().flat_map(|section| std::iter::once(&section.url).chain(&section.password));
        let commands = self.command.values().flat_map(|section| section.env.values());
        repository.chain(buckets.flatten()).chain(servers).chain(redis).chain(commands)
    }
}

impl Secret {
    /// The variable that it is taken from, if it is.
    fn variable(&self) -> Option<&str> {
        match self {
            Self::From(Source::Env(name)) => Some(name),
            _ => None,
        }
    }

    /// The value itself.
    ///
    /// # Errors
    /// When the variable is not set, the file cannot be read, or the program fails. The value is in none of the errors.
    pub fn reveal(&self) -> Result<String> {
        match self {
            Self::Inline(value) => Ok(value.clone()),
            Self::From(Source::Env(name)) => {
                std::env::var(name).map_err(|error| Error::Secret { from: format!("variable {name}"), detail: error.to_string() })
            }
            Self::From(Source::File(path)) => {
                let failed =
                    |error: std::io::Error| Error::Secret { from: format!("file {}", path.display()), detail: error.to_string() };
                Ok(without_newline(std::fs::read_to_string(path).map_err(failed)?))
            }
            Self::From(Source::Command(command)) => output_of(command, COMMAND_LIMIT),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

/// A secret as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<String>,
}

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMS)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Secret, E> {
        Ok(Secret::Inline(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Secret, A::Error> {
        let Table { env, file, command } = Table::deserialize(MapAccessDeserializer::new(map))?;
        if let Some(name) = env.as_ref().filter(|name| !is_variable_name(name)) {
            return Err(A::Error::custom(format!("'{name}' cannot be the name of a variable")));
        }
        let from = env.map(Source::Env).into_iter().chain(file.map(Source::File)).chain(command.map(Source::Command));
        let several = |_| A::Error::custom(format!("a secret comes from one place; write it as {FORMS}"));
        let [source] = <[Source; 1]>::try_from(from.collect::<Vec<_>>()).map_err(several)?;
        Ok(Secret::From(source))
    }
}

/// Runs a program for the secret it prints. What it writes to standard error is dropped: a program that fails can show the secret there
/// (`set -x`, a URL with a password), and the log is no place for it. One that does not end, because it waits for a vault that is away, must not hold up
/// for ever whoever needs the secret.
fn output_of(command: &str, limit: Duration) -> Result<String> {
    let failed = |detail: String| Error::Secret { from: "command".to_owned(), detail };
    let mut program = Command::new("sh");
    program.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = program.spawn().map_err(|error| failed(error.to_string()))?;
    let id = i32::try_from(child.id()).map(Pid::from_raw).map_err(|error| failed(error.to_string()))?;
    let (sender, ended) = mpsc::channel();
    // Whoever waits no longer takes nothing any more.
    std::thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let Ok(output) = ended.recv_timeout(limit) else {
        if let Err(errno) = kill(id, Signal::SIGKILL) {
            tracing::debug!("a command for a secret was not killed: {errno}");
        }
        return Err(failed(format!("the command did not end within {} s and was killed", limit.as_secs())));
    };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let why = "what it says on standard error is not shown, because that can hold secrets: run it by hand";
        return Err(failed(format!("the command ended with {}; {why}", output.status)));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| failed("its output is not UTF-8".to_owned()))?;
    Ok(without_newline(text))
}

fn without_newline(mut text: String) -> String {
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    text
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("(secret)"),
            Self::From(source) => source.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Holder {
        secret: Secret,
    }

    fn read(value: &str) -> std::result::Result<Secret, String> {
        let holder = toml::from_str::<Holder>(&format!("secret = {value}\n"));
        holder.map(|holder| holder.secret).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_secret_is_written_in_four_forms() {
        assert_eq!(read("\"hush\""), Ok(Secret::Inline("hush".to_owned())));
        assert_eq!(read("{ env = \"A\" }"), Ok(Secret::From(Source::Env("A".to_owned()))));
        assert_eq!(read("{ file = \"/a\" }"), Ok(Secret::From(Source::File(PathBuf::from("/a")))));
        assert_eq!(read("{ command = \"a b\" }"), Ok(Secret::From(Source::Command("a b".to_owned()))));
    }

    #[test]
    fn what_is_no_secret_is_told_the_forms() {
        for wrong in ["3", "[\"a\"]", "{}", "{ env = \"A\", file = \"/a\" }"] {
            let said = read(wrong).expect_err("no secret");
            assert!(said.contains("{ env = \"VARIABLE\" }") && said.contains("a text, or"), "{wrong}: {said}");
        }
        for name in ["A=B", ""] {
            let said = read(&format!("{{ env = \"{name}\" }}")).expect_err("no name");
            assert!(said.contains(&format!("'{name}' cannot be the name of a variable")), "{said}");
        }
        assert!(read("{ enf = \"A\" }").is_err_and(|said| said.starts_with("unknown field `enf`, expected one of `env`")));
    }

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for_longer_than_it_may_take() {
        assert_eq!(output_of("echo secret", COMMAND_LIMIT).expect("a secret"), "secret");
        let error = output_of("exec sleep 600", Duration::from_millis(100)).expect_err("it sleeps");
        assert!(error.to_string().contains("did not end within 0 s and was killed"), "{error}");
    }
}
