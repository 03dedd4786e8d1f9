//! How a private RabbitMQ node is run: its ports, its files, its environment, and the shell that is its parent.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::process::Pid;

const HOW_TO_GET_ONE: &str = "these tests need RabbitMQ on this machine, and none was found. \
    `deploy/test` installs it, or do it by hand: apt-get install rabbitmq-server. \
    An installation elsewhere is found by RABBITMQ_SBIN, its folder with rabbitmq-server and rabbitmqctl";

/// What a node is started with, each time the same.
pub struct Node {
    pub name: String,
    pub port: u16,
    pub dist_port: u16,
    pub epmd_port: u16,
    /// Whether its keeper runs the port mapper, or another node's does.
    pub runs_epmd: bool,
    /// Lines of `rabbitmq.conf` beside the usual ones.
    pub settings: String,
}

impl Node {
    /// A node of no cluster.
    pub fn alone() -> Self {
        let [port, dist_port, epmd_port] = free_ports();
        Self { name: "alone".into(), port, dist_port, epmd_port, runs_epmd: true, settings: String::new() }
    }
}

/// Ports of the loopback address on which nothing listens.
///
/// Chosen below the range from which Linux takes ports for outgoing connections, so that none of those takes the
/// port of a node while it is down.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| {
        let mut attempts = std::iter::repeat_with(|| rand::random_range(10_000..32_000)).take(1000);
        attempts.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).expect("a free port")
    });
    held.map(|listener| listener.local_addr().expect("a bound address").port())
}

/// The shell that is parent of a node.
pub struct Keeper {
    process: Child,
    /// `None` once it was told to end.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The node's files.
    pub folder: PathBuf,
    /// The node, while it runs.
    pub node: Option<Pid>,
}

impl Keeper {
    /// A keeper that has not yet started its node.
    pub fn new(node: &Node) -> Self {
        let folder = tempfile::Builder::new().prefix("lookup-rabbitmq-").tempdir().expect("a folder").keep();
        fs::create_dir(folder.join("log")).expect("a folder for logs");
        let mut command = Command::new("sh");
        environment(&mut command, node, &folder);
        let mut process = command
            .args(["-c", include_str!("keeper.sh"), "keeper"])
            .args([folder.as_os_str(), sbin().join("rabbitmq-server").as_os_str()])
            .arg(if node.runs_epmd { "epmd" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C ends the tests; what they started ends in order, after them.
            .process_group(0)
            .spawn()
            .expect("a shell");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("a piped output"));
        let mut keeper = Self { process, orders, answers, folder, node: None };
        keeper.write_files(node);
        assert_eq!(keeper.answer(), "ready", "the keeper of a RabbitMQ node");
        keeper
    }

    fn write_files(&self, node: &Node) {
        let write = |name: &str, text: &str| fs::write(self.folder.join(name), text).expect("a file in our folder");
        for name in ["mnesia", "home"] {
            fs::create_dir(self.folder.join(name)).expect("a folder in our folder");
        }
        write("enabled_plugins", "[].\n");
        write("home/.erlang.cookie", "only-these-tests");
        let cookie = self.folder.join("home/.erlang.cookie");
        fs::set_permissions(cookie, fs::Permissions::from_mode(0o400)).expect("a cookie of ours");
        let usual = "vm_memory_high_watermark.absolute = 2GB\ndisk_free_limit.absolute = 50MB\n";
        let listener = format!("listeners.tcp.1 = 127.0.0.1:{}\n", node.port);
        write("rabbitmq.conf", &(listener + usual + &node.settings));
    }

    /// Gives an order; returns its answer.
    pub fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("a keeper at work");
        writeln!(orders, "{order}").expect("a keeper that listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("a keeper that answers");
        answer.trim().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.process.wait();
    }
}

/// Tells the node's programs where everything is, and hides from them what the machine says.
pub fn environment(command: &mut Command, node: &Node, folder: &Path) {
    let inherited = env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("RABBITMQ_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", folder.join("home"))
        .env("LANG", "C.UTF-8")
        .env("ERL_EPMD_PORT", node.epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        // `rabbitmq-server` then becomes the node instead of starting it: the process id is known.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .env("RABBITMQ_NODENAME", format!("{}@localhost", node.name))
        .env("RABBITMQ_NODE_PORT", node.port.to_string())
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_DIST_PORT", node.dist_port.to_string())
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
        .env("RABBITMQ_FEATURE_FLAGS_FILE", folder.join("mnesia/feature_flags"))
        .env("RABBITMQ_PID_FILE", folder.join("pid"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        // An idle node does not spin: the cores are for the tests.
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
        );
}

/// The folder of RabbitMQ's own scripts. Those in `/usr/sbin` insist on the user `rabbitmq`.
pub fn sbin() -> PathBuf {
    let named = env::var_os("RABBITMQ_SBIN").map(PathBuf::from);
    let packaged = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
    let usual = ["/opt/rabbitmq/sbin", "/opt/homebrew/sbin", "/usr/local/sbin"].map(PathBuf::from);
    named
        .into_iter()
        .chain(packaged.map(|version| version.path().join("sbin")))
        .chain(usual)
        .find(|folder| folder.join("rabbitmq-server").is_file())
        .unwrap_or_else(|| panic!("{HOW_TO_GET_ONE}"))
}
