//! Values that nobody may see: given inline, or taken from the environment, a file or a program.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Error, Result};

/// A value that is not shown, and where it comes from.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Secret {
    /// It stands in the configuration.
    Inline(String),
    /// It is taken from somewhere else when it is needed.
    From(Source),
}

/// Where a secret comes from.
#[derive(Clone, Deserialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// An environment variable.
    Env(String),
    /// The content of a file, without the new line at its end.
    File(PathBuf),
    /// The output of a program run by `sh -c`, without the new line at its end.
    Command(String),
}

impl Secret {
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
            Self::From(Source::Command(command)) => output_of(command),
        }
    }
}

/// Runs a program for the secret it prints. What it writes to standard error is dropped: a program that fails can show the secret there
/// (`set -x`, a URL with a password), and the log is no place for it.
fn output_of(command: &str) -> Result<String> {
    let failed = |detail: String| Error::Secret { from: "command".to_owned(), detail };
    let output = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::null()).output();
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
