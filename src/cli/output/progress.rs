//! How far a long task is.

use std::io::{Write, stderr};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::sys::clock::Deadline;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar on a terminal, a line every ten seconds elsewhere. Counts bytes.
pub(in crate::cli) struct Progress {
    what: String,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Deadline>),
}

impl Progress {
    pub(super) fn new(what: &str, quiet: bool, terminal: bool) -> Self {
        let shown = match (quiet, terminal) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar(bar(what)),
            (false, false) => Shown::Lines(Mutex::new(Deadline::after(LINE_EVERY))),
        };
        Self { what: what.to_owned(), shown }
    }

    /// Says that `done` of about `total` bytes are done; zero where the total is not known.
    pub(in crate::cli) fn set(&self, done: u64, total: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_length(total.max(done));
                bar.set_position(done);
            }
            Shown::Lines(next) => self.line(next, done, total),
        }
    }

    /// Takes the display away.
    pub(in crate::cli) fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn line(&self, next: &Mutex<Deadline>, done: u64, total: u64) {
        let Ok(mut next) = next.lock() else { return };
        if !next.has_passed() {
            return;
        }
        *next = Deadline::after(LINE_EVERY);
        let of_total = if total > 0 { format!(" of about {}", HumanBytes(total.max(done))) } else { String::new() };
        drop(writeln!(stderr(), "{}: {}{of_total}", self.what, HumanBytes(done)));
    }
}

fn bar(what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let style = style.expect("the template is valid").progress_chars("=> ");
    ProgressBar::new(0).with_style(style).with_message(what.to_owned())
}
