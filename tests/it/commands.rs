//! The command line, through the built program.

mod configuration; // what is wrong with it is said by key, in one message
mod habits; // mistakes, and nothing where there is nothing
mod lookups; // `lookup` and `pipe`
mod operations; // `run`, `check` and `send`
mod schemas; // `schema`, `--help`, `--version`
mod table; // `send --csv`

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::ffi::OsStrExt,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::{road::SOON, worker::program};

/// One call of the program.
pub struct Call {
    command: Command,
    /// What it reads; it goes with the call.
    pub folder: TempDir,
    input: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Call {
    /// With these arguments, in a folder of its own, and no input.
    pub fn new(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lookup-worker-")
            .tempdir()
            .expect("a folder");
        let mut command = program();
        command.args(arguments).current_dir(folder.path());
        Self {
            command,
            folder,
            input: Vec::new(),
        }
    }

    /// With `--config` behind the command.
    pub fn config(mut self, toml: &str) -> Self {
        if self.command.get_args().next() == Some(OsStr::new("check")) {
            // No worker that runs on this machine is asked unless the test names it.
            self.command.env("LOOKUP__HTTP__LISTEN", "127.0.0.1:1");
        }
        self.file("config.toml", toml)
            .arguments(&["--config", "config.toml"])
    }

    /// With a file in its folder.
    pub fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).expect("a file in our folder");
        self
    }

    /// With more arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// With a variable.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.env_bytes(name, value.as_bytes())
    }

    /// With a variable whose value need be no text.
    pub fn env_bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.command.env(name, OsStr::from_bytes(value));
        self
    }

    /// With this on standard input.
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = text.into();
        self
    }

    /// Started, with pipes to it.
    pub fn start(mut self) -> Child {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.command.spawn().expect("the built program")
    }

    /// As [`Self::start`], with the folder that it reads.
    pub fn start_kept(mut self) -> (Child, TempDir) {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        (
            self.command.spawn().expect("the built program"),
            self.folder,
        )
    }

    /// Run to its end, which must come soon.
    pub async fn run(mut self) -> Ran {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the built program");
        let id = rustix::process::Pid::from_child(&child);
        let (mut stdin, input) = (child.stdin.take().expect("a pipe"), self.input);
        // Not awaited: a program that does not read its input leaves the writer alone with a broken pipe.
        drop(spawn_blocking(move || stdin.write_all(&input)));
        let ended = spawn_blocking(move || child.wait_with_output());
        let Ok(output) = tokio::time::timeout(SOON, ended).await else {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            panic!("{:?} did not end", self.command)
        };
        output.expect("no panic").expect("its output").into()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    /// It ended as expected.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// Each line of the output, as JSON.
    #[track_caller]
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(read).collect()
    }
}

/// A child that is killed when the test ends before it.
pub struct Guarded(pub Arc<Mutex<Child>>);

impl Guarded {
    pub fn new(child: Child) -> Self {
        Self(Arc::new(Mutex::new(child)))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Ok(mut child) = self.0.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
