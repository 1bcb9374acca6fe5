//! TCP ports that no other test takes.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;

use nix::unistd::Uid;

/// Below the range from which Linux picks the ports of outgoing connections, so that a port stays free while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1 that is this value's own, among all tests of this user, until it is dropped.
#[derive(Debug)]
pub struct FreePort {
    number: u16,
    _lock: File,
}

impl FreePort {
    /// Takes a port on which nothing listens.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn take() -> Self {
        let directory = std::env::temp_dir().join(format!("holdfast-test-ports-{}", Uid::effective()));
        fs::create_dir_all(&directory).expect("create the directory of port locks");
        let count = PORTS.end - PORTS.start;
        let first = u16::try_from(std::process::id() * 37 % u32::from(count)).expect("a remainder of a 16-bit number");
        let numbers = (0..count).map(|step| PORTS.start + (first + step) % count);
        for number in numbers {
            let path = directory.join(number.to_string());
            let lock = OpenOptions::new().create(true).append(true).open(&path).expect("open a port's lock");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port between {} and {}", PORTS.start, PORTS.end);
    }

    /// The port.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}
