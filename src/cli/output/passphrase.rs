//! Asking for a passphrase on the terminal, whatever standard input and output are.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// Asks for the passphrase of an identity file; `None` where there is no terminal, or nothing was typed.
pub(in crate::cli) fn ask_passphrase(file: &str) -> Option<String> {
    ask(&format!("passphrase of the identity file {file}: "))
}

/// Asks for a new passphrase, twice; `None` where there is no terminal, or the two differ.
pub(in crate::cli) fn ask_new_passphrase() -> Option<String> {
    let first = ask("passphrase of the new identity: ")?;
    let second = ask("the same again: ")?;
    (first == second).then_some(first)
}

fn ask(question: &str) -> Option<String> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let answer = BufReader::new(terminal.try_clone().ok()?);
    let silence = Silence::begin(&terminal)?;
    (&terminal).write_all(question.as_bytes()).ok()?;
    let mut line = String::new();
    let read = { answer }.read_line(&mut line);
    drop(silence);
    (&terminal).write_all(b"\n").ok()?;
    read.ok()?;
    let typed = line.trim_end_matches(['\n', '\r']);
    (!typed.is_empty()).then(|| typed.to_owned())
}

/// A terminal that does not show what is typed, as long as this lives.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn begin(terminal: &'a File) -> Option<Self> {
        let before = tcgetattr(terminal).ok()?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ICANON);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before) {
            tracing::warn!("the terminal still hides what is typed ('stty echo' mends it): {error}");
        }
    }
}
