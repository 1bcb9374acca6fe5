//! Ends what a killed test process leaves behind.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Stops the server and removes the scratch directory.
const END_SERVER: &str = r#"
pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1/postmaster.pid" ] && sleep 0.3; done
[ -n "${HOLDFAST_KEEP_SCRATCH:-}" ] || rm -rf "$2"
"#;

/// A small process, outside the test's process group, that outlives a test which is killed. Dropped in time, it does nothing.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Watches over the server of `data_directory`, whose files are in `scratch`.
    pub fn over(data_directory: &Path, scratch: &Path) -> io::Result<Self> {
        Self::running(END_SERVER, &[data_directory.as_os_str(), scratch.as_os_str()])
    }

    /// Runs a shell script with these arguments when the test process has ended: the guard's standard input then ends.
    pub fn running<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("cat >/dev/null\n{script}"), "guard"]).args(arguments).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
