//! How the program ends.

use crate::resources::postgres::source;
use crate::{config, repository, resources, storage};

/// Done.
pub(super) const DONE: u8 = 0;
/// For `check`: something cannot be restored, or soon cannot.
pub(super) const CRITICAL: u8 = 2;
/// The command line makes no sense.
pub(super) const USAGE: u8 = 2;
/// Failed; for `check`, a warning.
pub(super) const FAILED: u8 = 1;

/// The least code of any failure where PostgreSQL runs this program as its `restore_command`; a panic gets it too.
pub(super) fn guard_restore_command() -> u8 {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(i32::from(holdfast_archive_command::exit::FAILED));
    }));
    holdfast_archive_command::exit::FAILED
}

/// Why a verb could not do its work, for the person who called it.
#[derive(Debug)]
pub(super) struct Failure {
    /// What failed, on which object.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: FAILED }
    }

    pub(super) fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    pub(super) const fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        // What is wrong is the name on the command line, or that there is none: not the configuration.
        let is_usage = matches!(error, config::Error::UnknownResource { .. } | config::Error::WhichResource { .. });
        Self::new(error.to_string()).with_hint(error.hint()).with_code(if is_usage { USAGE } else { FAILED })
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}

impl From<repository::Error> for Failure {
    fn from(error: repository::Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}

impl From<resources::Error> for Failure {
    fn from(error: resources::Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}

impl From<source::Error> for Failure {
    fn from(error: source::Error) -> Self {
        Self::new(error.to_string()).with_hint(error.hint())
    }
}
