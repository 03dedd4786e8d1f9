//! What `check` prints behind an arrow mends what stands before it, run as it is printed, on the broker at hand.

use std::process::Command;

use lookup_worker::sandbox::Kind;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    broker::Broker,
    commands::Call,
    keeper::{Node, free_ports},
    road::Served,
    worker::Worker,
};

/// A node with its management plugin, its programs, and the users of `deploy/rabbitmq`.
pub struct Site {
    pub broker: Broker,
    programs: TempDir,
    pub sandbox: Served,
}

impl Site {
    pub async fn open() -> Self {
        let [port] = free_ports();
        let node = Node {
            settings: format!("management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}"),
            ..Node::alone()
        };
        let broker = Broker::launch_with(node, "[rabbitmq_management].");
        broker.wait_ready();
        broker.import_definitions(&super::deployment::file("deploy/rabbitmq/definitions.json"));
        for user in [
            "lookup-worker",
            "lookup-worker-declared",
            "lookup-requester",
        ] {
            broker.rabbitmqctl(&["change_password", user, "for-a-test"]);
        }
        // rabbitmqadmin comes as guest.
        broker.rabbitmqctl(&["set_permissions", "-p", "lookup", "guest", ".*", ".*", ".*"]);
        Self {
            programs: broker.programs(port),
            broker,
            sandbox: Served::start().await,
        }
    }

    /// A configuration for this user, in the virtual host `lookup`.
    pub fn config(&self, user: &str) -> String {
        let url = format!(
            "amqp://{user}:for-a-test@127.0.0.1:{}/lookup",
            self.broker.port()
        );
        let base = self.sandbox.base(Kind::Antsomi);
        // One provider has all that any has, and a command takes its time.
        format!(
            "[amqp]\nurl = \"{url}\"\n[retry]\ndelays = [\"1s\"]\n[providers.antsomi]\nkind = \"antsomi\"\n\
             token = \"sandbox-antsomi-token\"\nbase_url = \"{base}\"\nquota = {{ requests = 50, per = \"5s\" }}\n"
        )
    }

    pub fn declared(&self, user: &str) -> String {
        self.config(user)
            .replace("[amqp]\n", "[amqp]\ndeclare = false\n")
    }

    /// As a person at the broker types it; it must do.
    pub fn run(&self, command: &str) -> String {
        run_by(&self.programs, command)
    }
}

/// Runs a command as it was printed, by the programs of a node ([`Broker::programs`]); it must do.
pub fn run_by(programs: &TempDir, command: &str) -> String {
    let path = format!(
        "{}:{}",
        programs.path().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let ran = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .env("HOME", programs.path())
        .output()
        .expect("a shell");
    assert!(ran.status.success(), "{command}: {ran:?}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// The lines of `check` about these, and its exit code.
pub async fn checked(toml: &str, checks: &[&str]) -> (i32, Vec<Value>) {
    let ran = Call::new(&["check", "--json"]).config(toml).run().await;
    let named = |line: &Value| checks.iter().any(|check| line["check"] == *check);
    (ran.code, ran.lines().into_iter().filter(named).collect())
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// The command in an advice.
fn command(advice: &str) -> &str {
    let begin = advice
        .find("rabbitmq")
        .unwrap_or_else(|| panic!("no command in {advice}"));
    &advice[begin..]
}

#[tokio::test]
async fn each_cure_does_on_this_broker_what_it_says_as_it_is_printed() {
    let site = Site::open().await;
    // Nothing is there, and nothing may be declared: each thing comes with the command that declares it.
    let declared = site.declared("lookup-worker-declared");
    let (code, missing) = checked(&declared, &["topology"]).await;
    assert_eq!(code, 1);
    assert!(missing.len() > 12, "{missing:?}");
    for line in &missing {
        assert!(
            text(line, "message").ends_with("is missing, and amqp.declare = false"),
            "{line}"
        );
        site.run(text(line, "advice"));
    }
    let (code, lines) = checked(&declared, &["topology", "rights"]).await;
    assert_eq!(code, 0, "{lines:?}");
    assert!(
        text(&lines[0], "message").ends_with("queues are there, as they should be"),
        "{lines:?}"
    );
    // To the last argument: a worker that declares finds nothing foreign.
    let (code, lines) = checked(&site.config("lookup-worker"), &["topology", "rights"]).await;
    assert_eq!(code, 0, "{lines:?}");
    let mut worker = Worker::start(&declared);
    worker.wait_ready().await;
    worker.sigterm();
    assert!(worker.wait_exit().await.success(), "{}", worker.log());

    // What was declared otherwise goes by its command, and is declared anew at the next start.
    let other = site
        .config("lookup-worker")
        .replace("[amqp]\n", "[amqp]\ndelivery_limit = 7\n");
    site.run(
        "rabbitmqadmin --vhost=lookup delete exchange name=lookup.pause >/dev/null 2>&1 || \
              rabbitmqadmin --vhost=lookup delete exchange --name lookup.pause",
    );
    let fanout = command(text(&missing[0], "advice")).replace("lookup.dead", "lookup.pause");
    assert!(fanout.contains("fanout"), "{fanout}");
    site.run(&fanout);
    let (code, foreign) = checked(&other, &["topology"]).await;
    assert_eq!(code, 1);
    for line in &foreign {
        site.run(command(text(line, "advice")));
    }
    let (code, lines) = checked(&other, &["topology"]).await;
    assert_eq!(code, 0, "{lines:?}");
    assert!(
        text(&lines[0], "message").contains("not declared yet"),
        "{lines:?}"
    );

    // What a line names to look with.
    let (_, holds) = checked(&other, &["holds"]).await;
    let message = text(&holds[0], "message");
    let commands = message
        .split(" tells")
        .filter_map(|part| Some(&part[part.rfind("rabbitmqctl")?..]));
    let asked: Vec<_> = commands.map(|command| site.run(command)).collect();
    assert!(asked[0].contains("1800000"), "{message}: {asked:?}");
    site.run("rabbitmq-diagnostics alarms");
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_with_the_command_that_gives_it_and_nothing_is_to_be_deleted()
 {
    let site = Site::open().await;
    let as_requester = site.config("lookup-requester");
    let refused = async |toml: &str, check: &str| {
        let (code, lines) = checked(toml, &["topology", "rights"]).await;
        assert_eq!(code, 1, "{lines:?}");
        let bad: Vec<_> = lines.iter().filter(|line| line["ok"] == false).collect();
        let [line] = bad[..] else {
            panic!("one line: {lines:?}")
        };
        assert_eq!(line["check"], check, "{line}");
        assert!(text(line, "message").contains("ACCESS_REFUSED"), "{line}");
        assert!(!line.to_string().contains("delete"), "{line}");
        assert!(
            text(line, "advice").contains("rabbitmqctl set_permissions --vhost lookup "),
            "{line}"
        );
        line.clone()
    };
    // A new broker: what the user may not declare is not said to be declared by `run`.
    let (code, lines) = checked(&as_requester, &["topology"]).await;
    assert_eq!(code, 1, "{lines:?}");
    assert!(
        lines
            .iter()
            .any(|line| line.to_string().contains("set_permissions")),
        "{lines:?}"
    );

    let mut worker = Worker::start(&site.config("lookup-worker"));
    worker.wait_ready().await;
    let line = refused(&as_requester, "topology").await;
    for part in [
        "a right is missing to ",
        "lookup.dead, ",
        "'lookup-requester'",
    ] {
        assert!(text(&line, "message").contains(part), "{part}: {line}");
    }
    site.run(command(text(&line, "advice")));
    let (code, lines) = checked(&as_requester, &["topology", "rights"]).await;
    assert_eq!(code, 0, "{lines:?}");

    // Rights to all that is declared, but none to publish to a queue, or to hear from others.
    for (write, read, named) in [
        (r"^lookup\.", r"^lookup\.", "amq.default"),
        (r"^(lookup\..*|amq\.default)$", "^$", "lookup.room"),
    ] {
        let rights = [
            "set_permissions",
            "-p",
            "lookup",
            "lookup-worker-declared",
            r"^lookup\.notices\.",
            write,
            read,
        ];
        site.broker.rabbitmqctl(&rights);
        let declared = site.declared("lookup-worker-declared");
        let line = refused(&declared, "rights").await;
        assert!(text(&line, "message").contains(named), "{line}");
        site.run(command(text(&line, "advice")));
        let (code, lines) = checked(&declared, &["topology", "rights"]).await;
        assert_eq!(code, 0, "{lines:?}");
    }
}

#[tokio::test]
async fn check_and_dead_leave_nothing_in_the_log_of_a_broker_that_is_well() {
    let site = Site::open().await;
    let toml = site.config("lookup-worker");
    let troubles = |since: usize| {
        let log = site.broker.whole_log();
        let (warnings, errors) = ("[warning]", "[error]");
        let lines: Vec<_> = log[since..]
            .lines()
            .filter(|line| line.contains(warnings) || line.contains(errors))
            .map(str::to_owned)
            .collect();
        lines
    };
    // The test's own looks, and others', are over.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let fresh = site.broker.whole_log().len();
    checked(&toml, &[]).await;
    let told = troubles(fresh);
    assert!(
        told.len() <= 2 * 4,
        "a line or two for each look, and few looks: {told:#?}"
    );
    assert!(
        !told.iter().any(|line| line.contains("closing")),
        "{told:#?}"
    );

    let mut worker = Worker::start(&toml);
    worker.wait_ready().await;
    worker.sigterm();
    worker.wait_exit().await;
    let declared = site.broker.whole_log().len();
    for _ in 0..3 {
        checked(&toml, &[]).await;
        Call::new(&["dead", "list"])
            .config(&toml)
            .run()
            .await
            .expect(0);
    }
    assert_eq!(troubles(declared), Vec::<String>::new());
}
