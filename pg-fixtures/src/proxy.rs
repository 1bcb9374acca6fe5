//! A TCP proxy that breaks connections on demand.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What the proxy does to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is closed as soon as the client sends something.
    Refuse,
    /// It is closed after so many bytes from the client.
    CutRequest(u64),
    /// It is closed after so many bytes from the server: with 0 the request is carried out, and its answer lost.
    CutAnswer(u64),
    /// Nothing from the server is passed on, and nothing is closed.
    Stall,
}

/// A proxy on 127.0.0.1, to another port there. Dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

/// Told of each HTTP request, by its first line, before the request is passed on.
type Watcher = Box<dyn FnMut(&str) + Send>;

/// These bytes become others, so many times more.
struct Alteration {
    these: Vec<u8>,
    others: Vec<u8>,
    times: usize,
}

struct State {
    target: u16,
    watcher: Mutex<Option<Watcher>>,
    /// What is altered in answers.
    alteration: Mutex<Option<Alteration>>,
    /// What stands in the first line of requests that are refused.
    forbidden: Mutex<Option<String>>,
    /// The fault, and how many more connections it strikes.
    fault: Mutex<Option<(Fault, usize)>>,
    /// How many bytes per second each connection takes from its client; 0: all that come.
    speed: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    /// A proxy that passes everything on.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("open a port for a proxy");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = Arc::new(State {
            target,
            watcher: Mutex::default(),
            alteration: Mutex::default(),
            forbidden: Mutex::default(),
            fault: Mutex::default(),
            speed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &shared));
        Self { port, state }
    }

    /// The proxy's own port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Breaks the next `times` connections that come to it, old ones included.
    pub fn inject(&self, fault: Fault, times: usize) {
        *self.state.fault() = Some((fault, times));
    }

    /// Lets every connection send so many bytes per second and no more; 0 lifts the limit.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.state.speed.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Lets `watcher` see the first line of each HTTP request before it is passed on.
    pub fn watch(&self, watcher: impl FnMut(&str) + Send + 'static) {
        *self.state.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(watcher));
    }

    /// Answers S3 requests without a body as a server does that forbids them, where this stands in their first line.
    pub fn forbid(&self, part: &str) {
        *self.state.forbidden.lock().unwrap_or_else(PoisonError::into_inner) = Some(part.to_owned());
    }

    /// Makes others of these bytes the next `times` that they come from the server in one piece.
    ///
    /// # Panics
    /// When they are not as many.
    pub fn alter(&self, these: &[u8], others: &[u8], times: usize) {
        assert_eq!(these.len(), others.len(), "an answer keeps its length");
        let alteration = Alteration { these: these.to_owned(), others: others.to_owned(), times };
        *self.state.alteration.lock().unwrap_or_else(PoisonError::into_inner) = Some(alteration);
    }

    /// Passes everything on again.
    pub fn heal(&self) {
        *self.state.fault() = None;
    }

    /// How many connections the fault has still to strike.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state.fault().map_or(0, |(_, times)| times)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("target", &self.target).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl State {
    fn fault(&self) -> MutexGuard<'_, Option<(Fault, usize)>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes may still pass in this direction, given how many have passed since the fault was seen; all if `None`.
    fn allowance(&self, direction: Direction) -> Option<u64> {
        match (self.fault().as_ref()?.0, direction) {
            (Fault::Refuse, Direction::Request) => Some(0),
            (Fault::CutRequest(bytes), Direction::Request) | (Fault::CutAnswer(bytes), Direction::Answer) => Some(bytes),
            _ => None,
        }
    }

    /// How long so many bytes take at least.
    fn pause(&self, bytes: usize, direction: Direction) -> Duration {
        match self.speed.load(Ordering::Relaxed) {
            speed @ 1.. if direction == Direction::Request => Duration::from_micros(bytes as u64 * 1_000_000 / speed),
            _ => Duration::ZERO,
        }
    }

    /// Shows the watcher the requests that begin in what has come; a request is taken to come in one piece up to the end of its first line.
    fn show(&self, bytes: &[u8]) {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watcher) = watcher.as_mut() else { return };
        let text = String::from_utf8_lossy(bytes);
        text.split("\r\n").filter(|line| line.ends_with(" HTTP/1.1")).for_each(watcher);
    }

    /// Whether a request begins here that is forbidden.
    fn forbids(&self, bytes: &[u8]) -> bool {
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        let line = String::from_utf8_lossy(bytes).split("\r\n").next().unwrap_or_default().to_owned();
        forbidden.as_ref().is_some_and(|part| line.ends_with(" HTTP/1.1") && line.contains(part.as_str()))
    }

    /// Alters what has come from the server, where that is wanted.
    fn alter(&self, bytes: &mut [u8]) {
        let mut alteration = self.alteration.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(alteration) = alteration.as_mut().filter(|alteration| alteration.times > 0) else { return };
        let Alteration { these, others, times } = alteration;
        if let Some(place) = bytes.windows(these.len()).position(|window| window == these.as_slice()) {
            bytes[place..place + others.len()].copy_from_slice(others);
            *times -= 1;
        }
    }

    fn stalls(&self) -> bool {
        matches!(*self.fault(), Some((Fault::Stall, _)))
    }

    fn struck(&self) {
        let mut fault = self.fault();
        *fault = match *fault {
            Some((kind, times)) if times > 1 => Some((kind, times - 1)),
            _ => None,
        };
    }
}

/// What a server answers to a request that it forbids.
const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: 75\r\n\r\n\
                         <Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>\r\n";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.ended.load(Ordering::Relaxed) {
            return;
        }
        let connected = client.and_then(|client| Ok((client, TcpStream::connect(("127.0.0.1", state.target))?)));
        // A target that is down closes the client's connection: that is all a client of it would see.
        let Ok((client, server)) = connected else { continue };
        let pair = client.try_clone().and_then(|client| Ok((client, server.try_clone()?)));
        let Ok((client_too, server_too)) = pair else { continue };
        let (requests, answers) = (Arc::clone(state), Arc::clone(state));
        thread::spawn(move || pass(client, server, Direction::Request, &requests));
        thread::spawn(move || pass(server_too, client_too, Direction::Answer, &answers));
    }
}

/// Copies one direction until an end is closed or the fault strikes, and closes both.
fn pass(mut from: TcpStream, mut to: TcpStream, direction: Direction, state: &State) {
    let mut passed = 0;
    let done = copy(&mut from, &mut to, direction, state, &mut passed);
    if done.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionAborted) {
        state.struck();
    }
    for end in [&from, &to] {
        drop(end.shutdown(Shutdown::Both));
    }
}

fn copy(from: &mut TcpStream, to: &mut TcpStream, direction: Direction, state: &State, passed: &mut u64) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        while direction == Direction::Answer && state.stalls() {
            thread::sleep(Duration::from_millis(10));
        }
        if direction == Direction::Request {
            state.show(&buffer[..read]);
            if state.forbids(&buffer[..read]) {
                from.write_all(FORBIDDEN.as_bytes())?;
                continue;
            }
        }
        if direction == Direction::Answer {
            state.alter(&mut buffer[..read]);
        }
        thread::sleep(state.pause(read, direction));
        let Some(allowance) = state.allowance(direction) else {
            *passed = 0;
            to.write_all(&buffer[..read])?;
            continue;
        };
        let rest = usize::try_from(allowance.saturating_sub(*passed)).unwrap_or(read).min(read);
        to.write_all(&buffer[..rest])?;
        *passed += rest as u64;
        if rest < read || *passed >= allowance {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
    }
}
