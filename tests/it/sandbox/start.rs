use std::{fs, process, time::Duration};

use clap::{Args, Command, FromArgMatches};
use lookup_worker::sandbox::{self, Kind, Options, Sandbox, SandboxArgs};

fn args(line: &str) -> Result<SandboxArgs, clap::Error> {
    let words = std::iter::once("sandbox").chain(line.split_whitespace());
    let matches = SandboxArgs::augment_args(Command::new("sandbox")).try_get_matches_from(words)?;
    SandboxArgs::from_arg_matches(&matches)
}

#[test]
fn the_flags_have_the_defaults_that_a_person_expects() {
    let options = args("").unwrap().options().unwrap();
    let ports: Vec<u16> = options.ports.values().copied().collect();
    assert_eq!(ports, [18081, 18082, 18083, 18084, 18085]);
    assert!(options.rate_limits.is_empty());
}

#[test]
fn a_limit_for_one_kind_goes_before_one_for_all() {
    let options = args("--rate-limit antsomi=5/1s,documented --rate-limit omeda=1/1h")
        .unwrap()
        .options()
        .unwrap();
    let limits: Vec<String> = options
        .rate_limits
        .iter()
        .map(|(kind, limit)| format!("{kind} {limit}"))
        .collect();
    assert_eq!(limits, ["antsomi 5/1s", "omeda 1/1h", "plume 2000/5m"]);
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    for line in [
        "--status 99",
        "--latency soon",
        "--rate-limit 200",
        "--rate-limit crm=1/1s",
        "--only crm",
    ] {
        assert!(args(line).is_err(), "{line}");
    }
    assert!(args("--hang-rate 1.5").unwrap().options().is_err());
}

#[test]
fn help_lists_the_values_that_a_plain_job_can_ask_for() {
    let help = SandboxArgs::augment_args(Command::new("sandbox"))
        .render_long_help()
        .to_string();
    for part in [
        "84900000403",
        "84907089782",
        "191121684",
        "14082343456102",
        "acc-1001",
        "sandbox-egain-token",
        "/_sandbox/stats",
    ] {
        assert!(help.contains(part), "{part}");
    }
}

#[tokio::test]
async fn only_the_kinds_asked_for_are_served() {
    let options = args("--only egain,plume --egain-port 0 --plume-port 0")
        .unwrap()
        .options()
        .unwrap();
    let sandbox = Sandbox::bind(&options).await.unwrap();
    let kinds: Vec<Kind> = sandbox.addresses().into_keys().collect();
    assert_eq!(kinds, [Kind::Egain, Kind::Plume]);
    assert!(
        sandbox
            .base_url(Kind::Egain)
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    assert_eq!(sandbox.base_url(Kind::Omeda), None);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let first = Sandbox::bind(&Options::default()).await.unwrap();
    let port = first.addresses()[&Kind::Omeda].port();
    let options = Options {
        ports: [(Kind::Omeda, port)].into(),
        ..Options::default()
    };
    let error = Sandbox::bind(&options).await.err().unwrap().to_string();
    assert!(
        error.contains("omeda") && error.contains(&port.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn it_serves_until_the_shutdown_and_writes_a_configuration_first() {
    let path = std::env::temp_dir().join(format!("lookup-sandbox-{}.toml", process::id()));
    let ports = "--antsomi-port 0 --omeda-port 0 --kapture-port 0 --egain-port 0 --plume-port 0";
    let args = args(&format!("{ports} --write-config {}", path.display())).unwrap();
    let run = sandbox::run(&args, std::future::ready(()));
    tokio::time::timeout(Duration::from_secs(10), run)
        .await
        .expect("it ends")
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for kind in Kind::ALL {
        assert!(
            text.contains(&format!(
                "[providers.{kind}]\nkind = \"{kind}\"\nbase_url = \"http://127.0.0.1:"
            )),
            "{text}"
        );
    }
    assert!(text.contains("app_id = \"sandbox-omeda-app-id\"") && text.contains("brand = \"FOO\""));
}

#[tokio::test]
async fn a_configuration_of_unknown_ports_is_not_printed() {
    let args = args("--antsomi-port 0 --print-config").unwrap();
    let error = sandbox::run(&args, std::future::ready(()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("--write-config"), "{error}");
}

#[tokio::test]
async fn the_worker_reads_the_configuration_that_the_sandbox_writes() {
    let options = Options {
        ports: [(Kind::Antsomi, 0)].into(),
        ..Options::default()
    };
    let text = Sandbox::bind(&options).await.unwrap().config();
    let with_oauth = text.replace(
        "token = \"sandbox-antsomi-token\"\n# instead of the token: ",
        "",
    );
    for (name, text) in [("token", &text), ("oauth", &with_oauth)] {
        let path =
            std::env::temp_dir().join(format!("lookup-sandbox-{name}-{}.toml", process::id()));
        fs::write(&path, text).unwrap();
        let settings = lookup_worker::settings::load(Some(&path));
        fs::remove_file(&path).unwrap();
        assert_eq!(
            settings.unwrap().providers["antsomi"].adapter.kind(),
            "antsomi"
        );
    }
}
