//! How a private RabbitMQ node is run: its ports, its environment, and the shell that is its parent.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::LazyLock,
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
        Self {
            name: "alone".into(),
            port,
            dist_port,
            epmd_port,
            runs_epmd: true,
            settings: String::new(),
        }
    }
}

/// Ports of the loopback address on which nothing listens.
///
/// Chosen below the range from which Linux takes ports for outgoing connections, so that none of those takes the
/// port of a node while it is down.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| {
        let mut attempts = std::iter::repeat_with(|| rand::random_range(10_000..32_000)).take(1000);
        attempts
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .expect("a free port")
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
        let ports = [node.port, node.dist_port, node.epmd_port].map(|port| port.to_string());
        let mut process = Command::new("sh")
            .args([
                "-c",
                include_str!("../../deploy/rabbitmq-node"),
                "rabbitmq-node",
            ])
            .arg(sbin())
            .arg(&node.name)
            .args(ports)
            .args([
                if node.runs_epmd { "own" } else { "shared" },
                &node.settings,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let orders = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("a piped output"));
        let mut keeper = Self {
            process,
            orders,
            answers,
            folder: PathBuf::new(),
            node: None,
        };
        keeper.folder = keeper.answer().into();
        assert!(
            keeper.folder.is_dir(),
            "the keeper of a RabbitMQ node has no folder"
        );
        keeper
    }

    /// Gives an order; returns its answer.
    pub fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("a keeper at work");
        writeln!(orders, "{order}").expect("a keeper that listens");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .expect("a keeper that answers");
        answer.trim().to_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.process.wait();
    }
}

/// Tells RabbitMQ's other programs where to find the node, and hides from them what the machine says of its own.
pub fn environment(command: &mut Command, node: &Node, folder: &Path) {
    let inherited = env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("RABBITMQ_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", folder.join("home"))
        .env("LANG", "C.UTF-8")
        .env("ERL_CRASH_DUMP", "/dev/null")
        .env("ERL_EPMD_PORT", node.epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("{}@localhost", node.name))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
}

/// What the nodes of `deploy/rabbitmq-node` and who talks to them know of each other.
pub const COOKIE: &str = "only-this-machine";

/// RabbitMQ's version, without its patch level.
pub fn version() -> (u32, u32) {
    static VERSION: LazyLock<(u32, u32)> = LazyLock::new(|| {
        let mut command = Command::new(sbin().join("rabbitmqctl"));
        let output = command
            .arg("version")
            .stdin(Stdio::null())
            .output()
            .expect("rabbitmqctl");
        let printed = String::from_utf8_lossy(&output.stdout);
        let mut numbers = printed.trim().split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => panic!("rabbitmqctl version printed {printed:?}"),
        }
    });
    *VERSION
}

/// How RabbitMQ's own `rabbitmqadmin` is called: beside the other programs, or as the management plugin has it, which
/// is Python.
pub fn rabbitmqadmin() -> String {
    let beside = sbin().join("rabbitmqadmin");
    if beside.is_file() {
        return beside.display().to_string();
    }
    let plugins = fs::read_dir(sbin().join("../plugins")).expect("RabbitMQ's plugins");
    let script = plugins
        .flatten()
        .map(|plugin| plugin.path().join("priv/www/cli/rabbitmqadmin"))
        .find(|script| script.is_file())
        .expect("the management plugin, which Debian's package has");
    format!("python3 {}", script.display())
}

/// The folder of RabbitMQ's own scripts. Those in `/usr/sbin` insist on the user `rabbitmq`.
pub fn sbin() -> PathBuf {
    let named = env::var_os("RABBITMQ_SBIN").map(PathBuf::from);
    let packaged = fs::read_dir("/usr/lib/rabbitmq/lib")
        .into_iter()
        .flatten()
        .flatten();
    let usual = [
        "/opt/rabbitmq/sbin",
        "/opt/homebrew/sbin",
        "/usr/local/sbin",
    ]
    .map(PathBuf::from);
    named
        .into_iter()
        .chain(packaged.map(|version| version.path().join("sbin")))
        .chain(usual)
        .find(|folder| folder.join("rabbitmq-server").is_file())
        .unwrap_or_else(|| panic!("{HOW_TO_GET_ONE}"))
}
