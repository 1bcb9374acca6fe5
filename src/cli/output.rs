//! Everything that is printed: results as text or JSON, progress, errors. Nothing else in the project prints.

mod passphrase;
mod progress;
mod table;
mod units;

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::arguments::{Common, Format};
use super::exit::{Failure, USAGE};

pub(super) use passphrase::{ask_new_passphrase, ask_passphrase};
pub(super) use progress::Progress;
pub(super) use table::table;
pub(super) use units::{bytes, counted, seconds};

/// Where results go, and how.
#[derive(Clone, Copy)]
pub(super) struct Output {
    format: Format,
    quiet: bool,
    code_min: u8,
}

impl Output {
    pub(super) const fn new(format: Format, quiet: bool) -> Self {
        Self { format, quiet, code_min: 0 }
    }

    /// The same, where no failure may end with a code below `code_min`.
    pub(super) const fn with_code_min(self, code_min: u8) -> Self {
        Self { code_min, ..self }
    }

    /// Whether the result is for a program.
    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result: `value` as JSON, or the text that `text` makes of it.
    pub(super) fn result<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) {
        let result = match self.format {
            Format::Json => serde_json::to_string_pretty(value).expect("results have string keys and no failing serializer"),
            Format::Text => text(value),
        };
        // A reader that went away (`| head`) is not a failure of the work that was done.
        drop(writeln!(stdout(), "{}", result.trim_end()));
    }

    /// Standard output, for content that was asked for.
    pub(super) fn content(self) -> Content {
        Content { used: false }
    }

    /// Prints a line for a person, on standard error; programs and quiet callers do not get it.
    pub(super) fn note(self, line: &str) {
        if !self.quiet && !self.is_json() {
            drop(writeln!(stderr(), "{line}"));
        }
    }

    /// A progress display: a bar on a terminal, lines elsewhere, nothing where quiet.
    pub(super) fn progress(self, what: &str) -> Progress {
        Progress::new(what, self.quiet, stderr().is_terminal())
    }

    /// Prints why the program fails, and returns its exit code.
    pub(super) fn failure(self, failure: &Failure) -> ExitCode {
        let line = match (self.format, &failure.hint) {
            (Format::Json, hint) => serde_json::json!({ "error": failure.message, "hint": hint }).to_string(),
            (Format::Text, Some(hint)) => format!("error: {}\n hint: {hint}", failure.message),
            (Format::Text, None) => format!("error: {}", failure.message),
        };
        drop(writeln!(stderr(), "{line}"));
        ExitCode::from(failure.code.max(self.code_min))
    }
}

/// Standard output as a place for content.
pub(super) struct Content {
    used: bool,
}

impl Content {
    /// Whether content went there, so that nothing else may.
    pub(super) const fn is_used(&self) -> bool {
        self.used
    }
}

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.used = true;
        stdout().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.used = true;
        stdout().flush()
    }
}

/// Prints what clap says of a wrong command line, or the help that was asked for.
pub(super) fn usage(error: &clap::Error, code_min: u8) -> ExitCode {
    drop(error.print());
    ExitCode::from(if error.use_stderr() { USAGE.max(code_min) } else { 0 })
}

/// Sends the log to standard error: warnings by default, more with `-v`.
pub(super) fn logging(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn,holdfast=info",
        (false, 1) => "info,holdfast=debug",
        // The SDK's details show whose keys it uses, and what it signs with them.
        (false, _) => "debug,aws_=info,holdfast=trace",
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_writer(stderr);
    if common.output == Format::Json {
        subscriber.json().init();
    } else {
        subscriber.with_target(false).with_ansi(stderr().is_terminal()).init();
    }
}
