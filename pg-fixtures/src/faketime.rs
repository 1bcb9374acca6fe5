//! A clock of its own for a server, which a test sets while the server runs: Debian's `faketime`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::postgres::Builder;
use crate::{Scratch, ServerUser};

const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];

/// A clock. It goes right until it is set, and must live as long as the servers that have it.
#[derive(Debug)]
pub struct Faketime {
    scratch: Scratch,
}

impl Faketime {
    /// A clock that goes right.
    ///
    /// # Panics
    /// When `faketime` is not installed.
    #[must_use]
    pub fn new() -> Self {
        let clock = Self { scratch: Scratch::new() };
        clock.set("+0");
        clock
    }

    /// Has a cluster's server, and the programs that it starts, see this clock. How long things take they see as it is.
    #[must_use]
    pub fn over(&self, builder: Builder) -> Builder {
        let library = LIBRARIES.iter().find(|library| Path::new(library).exists());
        let library = library.expect("faketime is not installed: run scripts/install test");
        let file = self.file().display().to_string();
        let environment = [
            ("LD_PRELOAD", *library),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
        ];
        environment.iter().fold(builder, |builder, (name, value)| builder.environment(name, value))
    }

    /// Sets it to so much before or after the right time: `-1h`, `+90m`, `+0`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set(&self, offset: &str) {
        let next = self.file().with_extension("next");
        fs::write(&next, format!("{offset}\n")).expect("write a clock");
        ServerUser::current().own(&next);
        fs::rename(&next, self.file()).expect("set a clock");
    }

    fn file(&self) -> PathBuf {
        self.scratch.path().join("clock")
    }
}

impl Default for Faketime {
    fn default() -> Self {
        Self::new()
    }
}
