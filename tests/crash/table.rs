//! What was tried, how often, and with which result.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A line: what was killed where, and on which store.
type Line = (String, &'static str);

#[derive(Clone, Copy, Default)]
struct Count {
    at_point: u64,
    elsewhere: u64,
    failures: u64,
}

/// Counts kills by step and store.
pub struct Table {
    lines: RefCell<BTreeMap<Line, Count>>,
    current: RefCell<Line>,
    checks: RefCell<BTreeMap<&'static str, u64>>,
    peak_memory: Cell<u64>,
}

impl Table {
    pub fn new() -> Self {
        let current = RefCell::new(("before the first round".to_owned(), ""));
        Self { lines: RefCell::default(), current, checks: RefCell::default(), peak_memory: Cell::new(0) }
    }

    /// What follows belongs to this line.
    pub fn begin(&self, what: &str, store: &'static str) {
        *self.current.borrow_mut() = (what.to_owned(), store);
    }

    fn count(&self, count: impl FnOnce(&mut Count)) {
        count(self.lines.borrow_mut().entry(self.current.borrow().clone()).or_default());
    }

    /// A process died at the point that was armed in it.
    pub fn killed_at_point(&self) {
        self.count(|line| line.at_point += 1);
    }

    /// A process was killed from outside, wherever it was.
    pub fn killed_elsewhere(&self) {
        self.count(|line| line.elsewhere += 1);
    }

    /// Something that must hold did not.
    pub fn failed(&self) {
        self.count(|line| line.failures += 1);
    }

    /// Something was compared and was as it should be.
    pub fn checked(&self, what: &'static str, times: u64) {
        *self.checks.borrow_mut().entry(what).or_default() += times;
    }

    /// A process took so many bytes of memory at its peak.
    pub fn took_memory(&self, bytes: u64) {
        self.peak_memory.set(self.peak_memory.get().max(bytes));
    }

    fn sum(&self, of: impl Fn(&Count) -> u64) -> u64 {
        self.lines.borrow().values().map(of).sum()
    }

    pub fn struck(&self) -> u64 {
        self.sum(|line| line.at_point)
    }

    pub fn kills(&self) -> u64 {
        self.sum(|line| line.at_point + line.elsewhere)
    }

    pub fn failures(&self) -> u64 {
        self.sum(|line| line.failures)
    }

    /// For people, on a terminal.
    pub fn text(&self) -> String {
        self.rows()
    }

    fn rows(&self) -> String {
        let mut text = String::from("| killed | store | at the point | elsewhere | failures |\n|---|---|---:|---:|---:|\n");
        for ((what, store), count) in self.lines.borrow().iter() {
            let Count { at_point, elsewhere, failures } = count;
            writeln!(text, "| {what} | {store} | {at_point} | {elsewhere} | {failures} |").expect("write into memory");
        }
        let (at_point, elsewhere) = (self.struck(), self.kills() - self.struck());
        writeln!(text, "| **all** | | **{at_point}** | **{elsewhere}** | **{}** |", self.failures()).expect("write into memory");
        for (what, times) in self.checks.borrow().iter() {
            write!(text, "\n- {what}: {times}").expect("write into memory");
        }
        write!(text, "\n- most memory of any process, in MB: {}\n", self.peak_memory.get() >> 20).expect("write into memory");
        text
    }

    /// For a document.
    pub fn markdown(&self, minutes: u64, lives: u32) -> String {
        format!("{} kills in {minutes} minutes, over {lives} clusters:\n\n{}", self.kills(), self.rows())
    }
}
