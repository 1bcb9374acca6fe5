//! Real Redis and Valkey servers for tests, and a small client to fill and compare them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::guard::Guard;
use crate::{FreePort, Scratch, poll};

const END_SERVER: &str = r#"kill -KILL "$1" 2>/dev/null; [ -n "${HOLDFAST_KEEP_SCRATCH:-}" ] || rm -rf "$2""#;
/// What is longer is shown by its hash, in bytes.
const SHOWN_BYTES_MAX: usize = 4096;
const START_LIMIT: Duration = Duration::from_secs(60);
/// The directory where `scripts/install` puts servers that are not of this distribution.
const TREES: &str = "/var/cache/holdfast-test-servers";
/// A server is the same program as the one that checks its files: it goes by the name that it is called by.
const PROGRAMS: [(&str, &str); 4] = [
    ("redis", "/usr/bin/redis-check-rdb"),
    ("redis-6", "redis-6/usr/bin/redis-check-rdb"),
    ("redis-8", "redis-8/usr/bin/redis-check-rdb"),
    ("valkey-9", "valkey-9/usr/bin/valkey-check-rdb"),
];

/// An installed server.
#[derive(Debug, Clone)]
pub struct Program {
    /// `redis` of this distribution, `redis-6`, `redis-8`, `valkey-9`.
    pub name: &'static str,
    path: PathBuf,
}

impl Program {
    /// All of them.
    ///
    /// # Panics
    /// When one is not installed.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let trees = std::env::var("HOLDFAST_TEST_SERVERS").unwrap_or_else(|_| TREES.to_owned());
        let found = |(name, path): (&'static str, &str)| {
            let path = Path::new(&trees).join(path);
            assert!(path.exists(), "{name} is not at {}: run scripts/install test", path.display());
            Self { name, path }
        };
        PROGRAMS.into_iter().map(found).collect()
    }

    /// The one of that name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::all().into_iter().find(|program| program.name == name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Links it into a directory as `redis-server` or `valkey-server`, and returns its path there.
    ///
    /// # Panics
    /// When the directory is not there.
    pub fn link_into(&self, directory: &Path) -> PathBuf {
        let name = if self.name.starts_with("valkey") { "valkey-server" } else { "redis-server" };
        let link = directory.join(name);
        symlink(&self.path, &link).expect("link a server");
        link
    }

    /// Runs the program that checks a file, and returns what it says; it must succeed.
    ///
    /// # Panics
    /// When it finds something wrong.
    #[must_use]
    pub fn check(&self, file: &Path) -> String {
        let output = Command::new(&self.path).arg(file).output().expect("check an RDB file");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {said}", self.name);
        said
    }
}

/// A server on 127.0.0.1 and on a socket. It is killed when this is dropped.
#[derive(Debug)]
pub struct Redis {
    running: Option<Running>,
    program: PathBuf,
    port: FreePort,
    tls_port: FreePort,
    scratch: Scratch,
    lines: String,
}

#[derive(Debug)]
struct Running {
    server: Child,
    _guard: Guard,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

impl Redis {
    /// Starts an empty server that saves nothing of itself; `lines` are added to its configuration.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(program: &Program, lines: &str) -> Self {
        let mut server = Self::stopped(program, lines);
        server.restart();
        server
    }

    /// A server that is not running yet: files can be put into its directory.
    #[must_use]
    pub fn stopped(program: &Program, lines: &str) -> Self {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("data")).expect("create the directory of a Redis server");
        let program = program.link_into(scratch.path());
        let (port, tls_port) = (FreePort::take(), FreePort::take());
        Self { running: None, program, port, tls_port, scratch, lines: lines.to_owned() }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port.number()
    }

    /// A port that is kept for `tls-port`.
    #[must_use]
    pub const fn tls_port(&self) -> u16 {
        self.tls_port.number()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// The directory of its files.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scratch.path().join("socket")
    }

    /// Adds lines to the configuration, for the next start.
    pub fn configure(&mut self, lines: &str) {
        self.lines = format!("{}{lines}\n", self.lines);
    }

    /// Ends the server with SIGKILL. Its files and its ports stay.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts the server, or starts it again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        drop(fs::remove_file(self.socket()));
        let path = self.scratch.path();
        let configuration = format!(
            "port {}\nbind 127.0.0.1\nunixsocket {}\ndir {}\nsave \"\"\nrepl-diskless-sync-delay 0\nlogfile {}\n{}",
            self.port(),
            self.socket().display(),
            self.directory().display(),
            path.join("log").display(),
            self.lines
        );
        fs::write(path.join("server.conf"), configuration).expect("write the configuration of a Redis server");
        let log = File::options().create(true).append(true).open(path.join("log")).expect("open the log of a Redis server");
        let mut command = Command::new(&self.program);
        command.arg(path.join("server.conf")).stdin(Stdio::null()).stdout(log.try_clone().expect("share the log")).stderr(log);
        let server = command.spawn().expect("start a Redis server");
        let guard = Guard::running(END_SERVER, &[OsStr::new(&server.id().to_string()), path.as_os_str()]);
        self.running = Some(Running { server, _guard: guard.expect("guard a Redis server") });
        let ready = poll::try_until(START_LIMIT, || {
            self.try_client()
                .is_some_and(|mut client| client.try_ask(&["PING"]).is_ok_and(|answer| answer == Value::text("PONG")))
        });
        assert!(ready, "the Redis server does not answer; its log:\n{}", self.log());
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// A connection through its socket.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn client(&self) -> Client {
        self.try_client().expect("connect to a Redis server")
    }

    fn try_client(&self) -> Option<Client> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(120))).ok()?;
        Some(Client { reader: BufReader::new(stream.try_clone().ok()?), writer: stream })
    }

    /// One command with its answer, which must be no error.
    pub fn ask(&self, command: &[&str]) -> Value {
        self.client().ask(command)
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing of that name.
    Nothing,
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several answers.
    Several(Vec<Self>),
}

impl Value {
    /// Text as an answer.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// The answers within.
    #[must_use]
    pub fn several(&self) -> &[Self] {
        if let Self::Several(values) = self { values } else { &[] }
    }

    /// The bytes of the answer.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if let Self::Bytes(bytes) = self { bytes } else { &[] }
    }

    /// As text; of what is long, the length and a hash.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Bytes(bytes) if bytes.len() > SHOWN_BYTES_MAX => {
                let mut hasher = DefaultHasher::new();
                hasher.write(bytes);
                format!("{} bytes with hash {:x}", bytes.len(), hasher.finish())
            }
            Self::Bytes(bytes) => bytes.escape_ascii().to_string(),
            Self::Several(values) => format!("[{}]", values.iter().map(Self::shown).collect::<Vec<_>>().join(" ")),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Client {
    /// Sends a command and returns the answer.
    ///
    /// # Panics
    /// When it is an error.
    pub fn ask<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Value {
        let shown = || parts.iter().map(|part| part.as_ref().escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
        self.try_ask(parts).unwrap_or_else(|error| panic!("{}: {error}", shown()))
    }

    /// The same, where an error may be the answer.
    ///
    /// # Errors
    /// What the server says.
    pub fn try_ask<P: AsRef<[u8]>>(&mut self, parts: &[P]) -> Result<Value, String> {
        let mut sent = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            sent.extend_from_slice(format!("${}\r\n", part.as_ref().len()).as_bytes());
            sent.extend_from_slice(part.as_ref());
            sent.extend_from_slice(b"\r\n");
        }
        self.writer.write_all(&sent).map_err(|error| error.to_string())?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).map_err(|error| error.to_string())?;
        let rest = line.get(1..).unwrap_or_default().trim_end();
        let number = rest.parse::<i64>();
        match (line.as_bytes().first(), number) {
            (Some(b'+'), _) => Ok(Value::text(rest)),
            (Some(b':'), Ok(number)) => Ok(Value::Number(number)),
            (Some(b'$' | b'*'), Ok(-1)) => Ok(Value::Nothing),
            (Some(b'$'), Ok(bytes)) => {
                let mut content = vec![0; usize::try_from(bytes).map_err(|error| error.to_string())? + 2];
                self.reader.read_exact(&mut content).map_err(|error| error.to_string())?;
                content.truncate(content.len() - 2);
                Ok(Value::Bytes(content))
            }
            // An error within an answer is a part of it.
            (Some(b'*'), Ok(count)) => {
                let part = |_| self.answer().or_else(|error| Ok::<_, String>(Value::text(&error)));
                (0..count).map(part).collect::<Result<_, _>>().map(Value::Several)
            }
            _ => Err(rest.to_owned()),
        }
    }

    /// A line of `INFO`.
    pub fn info(&mut self, name: &str) -> String {
        let text = String::from_utf8_lossy(self.ask(&["INFO"]).bytes()).into_owned();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().to_owned()
    }

    /// The databases that have keys.
    pub fn databases(&mut self) -> Vec<String> {
        let text = String::from_utf8_lossy(self.ask(&["INFO", "keyspace"]).bytes()).into_owned();
        text.lines().filter_map(|line| Some(line.strip_prefix("db")?.split_once(':')?.0.to_owned())).collect()
    }

    /// Everything that is to be told of all keys: their databases, types, values and times, as the server itself shows them.
    pub fn portrait(&mut self) -> String {
        let mut portrait = String::new();
        for database in self.databases() {
            self.ask(&["SELECT", &database]);
            for key in self.keys() {
                let (kind, line) = self.line(&key);
                writeln!(portrait, "{database} {} {kind} {line}", key.escape_ascii()).expect("text takes everything");
            }
        }
        self.ask(&["SELECT", "0"]);
        portrait
    }

    /// The names of all keys of the database.
    pub fn keys(&mut self) -> BTreeSet<Vec<u8>> {
        let (mut keys, mut cursor) = (BTreeSet::new(), b"0".to_vec());
        loop {
            let answer = self.ask(&[&b"SCAN"[..], &cursor, b"COUNT", b"1000"]);
            let [next, found] = answer.several() else { panic!("SCAN answers with {answer:?}") };
            keys.extend(found.several().iter().map(|key| key.bytes().to_vec()));
            cursor = next.bytes().to_vec();
            if cursor == b"0" {
                return keys;
            }
        }
    }

    fn line(&mut self, key: &[u8]) -> (String, String) {
        let kind = self.ask(&[&b"TYPE"[..], key]).shown();
        // Values in the order of their members: servers have an order of their own for each start.
        let value = match kind.as_str() {
            "string" => self.ask(&[&b"GET"[..], key]).shown(),
            "list" => self.ask(&[&b"LRANGE"[..], key, b"0", b"-1"]).shown(),
            "set" => sorted(&self.ask(&[&b"SMEMBERS"[..], key]), 1),
            "zset" => self.ask(&[&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"]).shown(),
            "hash" => sorted(&self.ask(&[&b"HGETALL"[..], key]), 2) + &self.field_times(key),
            "stream" => self.ask(&[&b"XINFO"[..], b"STREAM", key, b"FULL", b"COUNT", b"0"]).shown(),
            other => panic!("{other}"),
        };
        // Since version 7 a server says when, before only how long from now: then the second must do.
        let expires = self.try_ask(&[&b"PEXPIRETIME"[..], key]).map_or_else(
            |_| if self.ask(&[&b"PTTL"[..], key]) == Value::Number(-1) { "never".to_owned() } else { "expires".to_owned() },
            |at| at.shown(),
        );
        (kind, format!("{expires} {value}"))
    }

    /// When the fields of a hash expire; nothing where the server has no such thing.
    fn field_times(&mut self, key: &[u8]) -> String {
        let fields = self.ask(&[&b"HKEYS"[..], key]);
        let mut fields: Vec<&[u8]> = fields.several().iter().map(Value::bytes).collect();
        fields.sort_unstable();
        let count = fields.len().to_string();
        let command = [vec![&b"HPEXPIRETIME"[..], key, b"FIELDS", count.as_bytes()], fields].concat();
        self.try_ask(&command).map_or_else(|_| String::new(), |times| format!(" {}", times.shown()))
    }
}

/// The members in order, so many answers each.
fn sorted(value: &Value, each: usize) -> String {
    let mut members: Vec<Vec<Value>> = value.several().chunks(each).map(<[Value]>::to_vec).collect();
    members.sort();
    members.iter().flatten().map(Value::shown).collect::<Vec<_>>().join(" ")
}
