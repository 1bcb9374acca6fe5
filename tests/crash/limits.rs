//! How long a run goes on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::table::Table;

/// What a short run gets by.
const SECONDS: u64 = 60;
const KILLS: u64 = 60;

/// A run ends when both are reached: it lasted so long, or it killed so often.
pub struct Limits {
    begun: Instant,
    time: Duration,
    kills: u64,
    report: Option<PathBuf>,
}

impl Limits {
    pub fn of_environment() -> Self {
        let number = |name: &str, default| {
            std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
        };
        Self {
            begun: Instant::now(),
            time: Duration::from_secs(number("HOLDFAST_SOAK_SECONDS", SECONDS)),
            kills: number("HOLDFAST_SOAK_KILLS", KILLS),
            report: std::env::var_os("HOLDFAST_SOAK_REPORT").map(PathBuf::from),
        }
    }

    /// The time is over, or there were enough kills.
    pub fn are_reached(&self, table: &Table) -> bool {
        self.begun.elapsed() >= self.time || table.kills() >= self.kills
    }

    /// Whether a life was long enough: a long run has many lives, a short one two.
    pub fn life_is_over(&self, lived: Duration, kills: u64) -> bool {
        if self.are_long() { kills >= 150 } else { kills >= self.kills / 2 || lived >= self.time / 2 }
    }

    /// After how many kills everything is restored and compared.
    pub fn kills_per_restore(&self) -> u64 {
        if self.are_long() { 40 } else { 20 }
    }

    fn are_long(&self) -> bool {
        self.time > Duration::from_secs(600)
    }

    /// Writes the result between the marks of a document, where a run is asked to.
    pub fn report(&self, table: &Table, lives: u32) {
        let Some(path) = &self.report else { return };
        let text = std::fs::read_to_string(path).expect("read the document");
        let (begin, end) = ("<!-- soak: begin -->\n", "<!-- soak: end -->");
        let (head, rest) = text.split_once(begin).expect("the document has a mark where the result begins");
        let (_, tail) = rest.split_once(end).expect("the document has a mark where the result ends");
        let minutes = self.begun.elapsed().as_secs().div_ceil(60);
        let new = format!("{head}{begin}{}{end}{tail}", table.markdown(minutes, lives));
        std::fs::write(path, new).expect("write the document");
    }
}
