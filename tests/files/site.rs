//! What these tests share: a tree of files, a repository, and the program.

use std::ffi::OsStr;
use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use pg_fixtures::{Scratch, Verbs};
use serde_json::Value;

/// A repository, a configuration, and the tree `files/tree`.
pub struct Site {
    pub scratch: Scratch,
    verbs: Verbs,
    /// The tree.
    pub tree: PathBuf,
}

impl Deref for Site {
    type Target = Verbs;

    fn deref(&self) -> &Verbs {
        &self.verbs
    }
}

impl Site {
    /// A site whose section has these lines besides the path.
    pub fn new(more: &str) -> Self {
        let scratch = Scratch::new();
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree).expect("create the tree");
        let site =
            Self { verbs: Verbs::new(env!("CARGO_BIN_EXE_holdfast"), scratch.path().join("holdfast.toml")), tree, scratch };
        site.configure(more);
        site.run(&["init"]);
        site
    }

    pub fn configure(&self, more: &str) {
        let (root, tree) = (self.scratch.path().display(), self.tree.display());
        let text = format!(
            "[repository]\nurl = \"file://{root}/repository\"\nlease = \"8s\"\n[files.tree]\npaths = [\"{tree}\"]\n{more}\n"
        );
        fs::write(self.verbs.configuration(), text).expect("write the configuration");
    }

    /// Starts the agent; its log is `NAME.log`.
    pub fn agent(&self, name: &str) -> Running {
        self.start(self.command(&["agent", "-v"]), name)
    }

    /// Starts an agent in a namespace of users that the kernel lets watch nothing; `None` where it makes no such namespaces.
    pub fn agent_without_watches(&self, name: &str) -> Option<Running> {
        let plain = self.command(&["agent", "-v"]);
        let mut unshared = Command::new("unshare");
        unshared.args(["--user", "--map-root-user", "sh", "-c"]);
        let possible = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
        if !possible.is_ok_and(|status| status.success()) {
            return None;
        }
        unshared.args(["echo 0 > /proc/sys/user/max_inotify_watches && exec \"$@\"", "sh"]);
        unshared.arg(plain.get_program()).args(plain.get_args());
        unshared.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Some(self.start(unshared, name))
    }

    fn start(&self, mut command: Command, name: &str) -> Running {
        let log = self.scratch.path().join(format!("{name}.log"));
        let file = fs::File::create(&log).expect("make the agent's log");
        command.stdout(file.try_clone().expect("share the log")).stderr(file);
        Running { child: command.spawn().expect("start the agent"), log }
    }

    /// Takes a backup and returns what was said of it.
    pub fn backup(&self) -> Value {
        self.json(&["backup", "files/tree"])
    }

    /// The files below the folder of all backups' content.
    pub fn stored(&self) -> Vec<PathBuf> {
        below(&self.scratch.path().join("repository/files/tree/data")).into_iter().filter(|path| path.is_file()).collect()
    }

    /// A directory that a restore goes to, and the tree in it.
    pub fn target(&self, name: &str) -> (String, PathBuf) {
        let to = self.scratch.path().join(name);
        let tree = to.join(self.tree.strip_prefix("/").expect("an absolute path"));
        (to.display().to_string(), tree)
    }

    /// Writes a file of the tree.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.tree.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("create a folder");
        fs::write(&path, content).expect("write a file");
        path
    }
}

/// An agent; dropped, it is killed.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("kill the agent");
        self.child.wait().expect("wait for the agent");
    }
}

/// Everything below a directory, sorted.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(
            |path| if path.is_dir() && !path.is_symlink() { [vec![path.clone()], below(&path)].concat() } else { vec![path] },
        )
        .collect()
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set the mode");
}

/// The output of another program, which must succeed.
pub fn output<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("run {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything about a tree that a restore has to bring back, as `find`, `getfattr` and `b3sum` tell it.
pub fn portrait(tree: &Path) -> String {
    let script = r"
        cd $0 && find . ! -type s -printf '%p %y %m %U %G %s %T@ %l\n' | sort
        find . -type f -links +1 -printf '%i %p\n' | sort -k2 | awk '{ if (!($1 in seen)) seen[$1] = $2; print $2, seen[$1] }'
        find . -type f -print0 | sort -z | xargs -0 -r b3sum
        find . -print0 | sort -z | xargs -0 -r getfattr -h -d -m - --absolute-names 2>/dev/null
        true";
    output("bash", &[OsStr::new("-c"), OsStr::new(script), tree.as_os_str()])
}
