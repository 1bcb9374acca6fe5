//! Work that goes on while a test does something else.

use std::process::{Child, Command, Stdio};

/// A running client program. Dropped, it is killed.
#[derive(Debug)]
pub struct Load {
    process: Child,
}

impl Load {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { process: command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}")) }
    }

    /// Whether it still works: pgbench ends when its connections break.
    ///
    /// # Panics
    /// When the process cannot be asked.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("ask for a child's state").is_none()
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
