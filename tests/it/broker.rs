//! A private RabbitMQ node: own ports, own folder, own port mapper; it can be killed and frozen.
//!
//! Every call blocks its thread. No node outlives the test process, even a killed one: `deploy/rabbitmq-node`
//! is its parent and ends it when the pipe to the test process closes.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lapin::{Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::keeper::{COOKIE, Keeper, Node, environment, rabbitmqadmin, sbin};

/// A node is given this long to come up; 5 s is usual on an idle machine.
const START_WITHIN: Duration = Duration::from_secs(90);

/// One node. Dropped, it ends, and its folder goes.
pub struct Broker {
    node: Node,
    keeper: Mutex<Keeper>,
}

impl Broker {
    /// The node that tests share. Each takes a [`Self::vhost`] or a [`unique`] prefix of its own; a test that
    /// stops or freezes the broker starts one for itself.
    pub fn shared() -> &'static Self {
        // Never dropped, and need not be: its keeper notices the end of this process.
        static SHARED: LazyLock<Broker> = LazyLock::new(Broker::start);
        &SHARED
    }

    /// A node of the caller's own, ready for connections.
    pub fn start() -> Self {
        // A port that was free may be taken before the node has it: then once more, with others.
        for _ in 0..2 {
            let broker = Self::launch(Node::alone());
            match broker.ready() {
                Ok(()) => return broker,
                Err(problem) => eprintln!("{problem}"),
            }
        }
        let broker = Self::launch(Node::alone());
        broker.wait_ready();
        broker
    }

    /// A started node, which is not yet ready.
    pub(crate) fn launch(node: Node) -> Self {
        Self::launch_with(node, "[].")
    }

    /// As [`Self::launch`], with these plugins, as Erlang writes a list.
    pub(crate) fn launch_with(node: Node, plugins: &str) -> Self {
        let keeper = Keeper::new(&node);
        fs::write(keeper.folder.join("enabled_plugins"), plugins)
            .expect("a file in the node's folder");
        let broker = Self {
            node,
            keeper: Mutex::new(keeper),
        };
        broker.order_start();
        broker
    }

    /// Its address, virtual host `/`.
    pub fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// The port for AMQP.
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// Its address, of a virtual host.
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/{vhost}", self.node.port)
    }

    /// A new, empty virtual host; dropped, it goes, with everything in it. Takes half a second.
    pub fn vhost(&self) -> Vhost<'_> {
        let name = unique("test");
        self.evaluate(&format!(
            r#"rabbit_vhost:add(<<"{name}">>, <<"test">>),
            rabbit_auth_backend_internal:set_permissions(
                <<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)."#
        ));
        Vhost { broker: self, name }
    }

    /// SIGKILL. Returns when the process is gone.
    pub fn kill(&self) {
        self.keeper().order("kill");
    }

    /// Returns when what was declared is written down: a node that is killed within a second or so after a queue was
    /// declared for the first time may forget it.
    pub fn write_down(&self) {
        self.evaluate("lists:foreach(fun dets:sync/1, dets:all()), mnesia:sync_log().");
    }

    /// SIGTERM, an orderly stop. Returns when the process is gone.
    pub fn stop(&self) {
        self.signal(Signal::TERM);
        self.keeper().order("wait");
    }

    /// Starts the node that was killed or stopped, on the same ports and data; returns when it is ready.
    pub fn start_again(&self) {
        self.order_start();
        self.wait_ready();
    }

    /// As [`Self::start_again`], without the wait.
    pub fn order_start(&self) {
        let mut keeper = self.keeper();
        let answer = keeper.order("start");
        keeper.node = answer.parse().ok().and_then(Pid::from_raw);
        assert!(
            keeper.node.is_some(),
            "the keeper answered {answer:?} instead of a process id"
        );
    }

    /// SIGSTOP: connections stay, nothing answers. Returns when each of its threads has stopped.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        while !self.is_stopped() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether each thread's state is `T`, which stands behind the name in brackets. Where there is no `/proc`, it
    /// is taken for granted.
    fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid().as_raw_nonzero()))
            .into_iter()
            .flatten();
        let stats = threads
            .flatten()
            .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        stats
            .filter_map(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('T')))
            .all(|stopped| stopped)
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The broker application stops, its process stays.
    pub fn stop_app(&self) {
        self.rabbitmqctl(&["stop_app"]);
    }

    /// The broker application starts again.
    pub fn start_app(&self) {
        self.rabbitmqctl(&["start_app"]);
        self.wait_ready();
    }

    /// What the node makes of Erlang's expressions; they must succeed.
    pub fn evaluate(&self, expressions: &str) -> String {
        self.try_to_evaluate(expressions)
            .unwrap_or_else(|problem| panic!("{expressions} failed:\n{problem}\n{}", self.log()))
    }

    /// What the node makes of Erlang's expressions, or how they failed. `erl_call`, which comes with most Erlangs,
    /// boots none for it, as `rabbitmqctl` does.
    fn try_to_evaluate(&self, expressions: &str) -> Result<String, String> {
        static IS_HERE: LazyLock<bool> = LazyLock::new(|| {
            let mut command = Command::new("timeout");
            command.args(["5", "erl_call"]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let status = command.stdin(Stdio::null()).status();
            // So `timeout` says that there is no such program.
            status.is_ok_and(|status| status.code() != Some(127))
        });
        if !*IS_HERE {
            return self.try_rabbitmqctl(&["eval", expressions]);
        }
        let mut command = Command::new("timeout");
        environment(&mut command, &self.node, &self.keeper().folder);
        let mut call = command
            .args(["60", "erl_call", "-e", "-c", COOKIE])
            .args(["-h", &unique("call")])
            .args(["-sname", &format!("{}@localhost", self.node.name)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut given = call.stdin.take().expect("a pipe");
        let written = given.write_all(format!("{expressions}\n").as_bytes());
        drop(given);
        let output = call.wait_with_output();
        let output = written.and(output).map_err(|error| error.to_string())?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let value = printed
            .strip_prefix("{ok, ")
            .and_then(|rest| rest.strip_suffix('}'));
        value.map(str::to_owned).ok_or_else(|| {
            let problem = String::from_utf8_lossy(&output.stderr);
            format!("{printed}{problem}{}", output.status)
        })
    }

    /// What `rabbitmqctl ARGUMENTS` printed; it must succeed.
    pub fn rabbitmqctl(&self, arguments: &[&str]) -> String {
        self.try_rabbitmqctl(arguments).unwrap_or_else(|problem| {
            panic!(
                "rabbitmqctl {arguments:?} failed:\n{problem}\n{}",
                self.log()
            )
        })
    }

    /// What `rabbitmqctl ARGUMENTS` printed, or how it failed. It gives up after 60 s.
    pub fn try_rabbitmqctl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(sbin().join("rabbitmqctl"));
        environment(&mut command, &self.node, &self.keeper().folder);
        let output = command
            .args([
                "--quiet",
                "--timeout",
                "60",
                "--node",
                &format!("{}@localhost", self.node.name),
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// Imports definitions as `rabbitmqctl import_definitions` does; the file is one that the node can see, wherever it
    /// has its root.
    pub fn import_definitions(&self, text: &str) {
        let path = self.keeper().folder.join("definitions.json");
        fs::write(&path, text).expect("a file in the node's folder");
        self.rabbitmqctl(&["import_definitions", &path.to_string_lossy()]);
    }

    /// A folder with RabbitMQ's programs as this node's machine has them, which talk to this node; `management` is the
    /// port of its HTTP API.
    pub fn programs(&self, management: u16) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        environment(&mut command, &self.node, &self.keeper().folder);
        let exports: String = command
            .get_envs()
            .filter_map(|(name, value)| {
                let (name, value) = (name.to_string_lossy(), value?.to_string_lossy());
                Some(format!("export {name}='{value}'\n"))
            })
            .collect();
        let node = format!("--node {}@localhost", self.node.name);
        let admin = format!("--host 127.0.0.1 --port {management}");
        for (name, program, options) in [
            (
                "rabbitmqctl",
                sbin().join("rabbitmqctl").display().to_string(),
                node.clone(),
            ),
            (
                "rabbitmq-diagnostics",
                sbin().join("rabbitmq-diagnostics").display().to_string(),
                node,
            ),
            ("rabbitmqadmin", rabbitmqadmin(), admin),
        ] {
            let path = folder.path().join(name);
            let script = format!("#!/bin/sh\n{exports}exec {program} {options} \"$@\"\n");
            fs::write(&path, script).expect("a file in our folder");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        }
        folder
    }

    /// Everything in its log.
    pub fn whole_log(&self) -> String {
        let name = format!("log/{}@localhost.log", self.node.name);
        fs::read_to_string(self.keeper().folder.join(name)).unwrap_or_default()
    }

    /// Switches a plugin on, with those that it needs, while the node runs.
    pub fn enable_plugin(&self, plugin: &str) {
        let mut command = Command::new(sbin().join("rabbitmq-plugins"));
        let folder = self.keeper().folder.clone();
        environment(&mut command, &self.node, &folder);
        let output = command
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                folder.join("enabled_plugins"),
            )
            .args([
                "--node",
                &format!("{}@localhost", self.node.name),
                "enable",
                plugin,
            ])
            .stdin(Stdio::null())
            .output()
            .expect("rabbitmq-plugins");
        assert!(
            output.status.success(),
            "rabbitmq-plugins: {output:?}\n{}",
            self.log()
        );
    }

    /// Returns when an AMQP connection can be opened.
    pub fn wait_ready(&self) {
        self.ready().unwrap_or_else(|problem| panic!("{problem}"));
    }

    fn ready(&self) -> Result<(), String> {
        let give_up = Instant::now() + START_WITHIN;
        while !self.accepts_connections() {
            let failed = self.log().contains("BOOT FAILED");
            if failed || Instant::now() > give_up {
                let how = if failed {
                    "failed at its start"
                } else {
                    "did not get ready in time"
                };
                return Err(format!(
                    "the RabbitMQ node on port {} {how}:\n{}",
                    self.node.port,
                    self.log()
                ));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Whether a connection opens within two seconds. On a thread of its own, since the caller may be inside a
    /// runtime.
    pub fn accepts_connections(&self) -> bool {
        let url = self.url();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(accepts_connections(&url))
        })
        .join()
        .expect("a probe that does not panic")
    }

    /// What the node printed since its last start.
    pub fn log(&self) -> String {
        let all = fs::read_to_string(self.keeper().folder.join("log/out")).unwrap_or_default();
        let last_start = all.rfind("\n  ##  ##").unwrap_or(0);
        all[last_start..].to_owned()
    }

    /// Process id of the running node.
    pub fn pid(&self) -> Pid {
        self.keeper().node.expect("a node that was started")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a node that runs");
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        // A panicked test must not take the others along.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An own virtual host on a [`Broker`].
pub struct Vhost<'a> {
    broker: &'a Broker,
    name: String,
}

impl Vhost<'_> {
    /// Address of the virtual host.
    pub fn url(&self) -> String {
        self.broker.url_of(&self.name)
    }

    /// Makes a queue deaf, or its leader where it has one: the queue is there, and confirms nothing.
    pub fn deafen(&self, queue: &str) {
        self.tell_leaders("suspend", &[queue]);
    }

    /// As it was before [`Self::deafen`].
    pub fn let_hear(&self, queue: &str) {
        self.tell_leaders("resume", &[queue]);
    }

    /// Closes whatever is open there, as an operator does.
    pub fn close_connections(&self) {
        let arguments = ["close_all_connections", "--vhost", self.name(), "a test"];
        self.broker.rabbitmqctl(&arguments);
    }

    /// Tells the processes of these queues to `suspend` or to `resume`.
    pub fn tell_leaders(&self, order: &str, queues: &[impl AsRef<str>]) {
        let tell = |queue: &str| {
            format!(
                "(fun() -> {{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{}\">>, queue, <<\"{queue}\">>)),
                Leader = case amqqueue:get_pid(Q) of {{Named, _}} -> Named; Pid -> Pid end, sys:{order}(Leader) end)()",
                self.name()
            )
        };
        let all: Vec<_> = queues.iter().map(|queue| tell(queue.as_ref())).collect();
        self.broker.evaluate(&format!("{}.", all.join(", ")));
    }

    /// Its name, for `rabbitmqctl --vhost`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Vhost<'_> {
    fn drop(&mut self) {
        // A broker that is gone has taken it along.
        let delete = format!("rabbit_vhost:delete(<<\"{}\">>, <<\"test\">>).", self.name);
        let _ = self.broker.try_to_evaluate(&delete);
    }
}

/// Whether a connection opens within two seconds.
pub async fn accepts_connections(url: &str) -> bool {
    let connect = Connection::connect(url, ConnectionProperties::default());
    let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(2), connect).await else {
        return false;
    };
    let close = connection.close(200, "ready".into());
    tokio::time::timeout(Duration::from_secs(2), close)
        .await
        .is_ok_and(|closed| closed.is_ok())
}

/// `PREFIX-…`, as nothing else in this or another run is named.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
