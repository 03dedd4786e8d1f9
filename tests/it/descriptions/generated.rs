//! Classes made of the schemas by the tools that people use: each sends a job of each kind, and reads the results.
//!
//! The tools are packages of Python and Node.js, which `deploy/test` puts below `target/tools`; so they are left out of
//! a plain `cargo test`. The programs are in `tests/generated`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lookup_worker::schema;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::{
    broker::Broker,
    commands::Call,
    road::{self, Served},
    worker::Worker,
};

const KINDS: [&str; 5] = ["antsomi", "omeda", "kapture", "egain", "plume"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python(name: &str) -> Command {
    Command::new(root().join("target/tools/generators-python/bin").join(name))
}

fn node(name: &str) -> Command {
    Command::new(
        root()
            .join("target/tools/generators/node_modules/.bin")
            .join(name),
    )
}

/// A folder with both schemas, and one of the programs that use what is made of them.
struct Workshop(TempDir);

impl Workshop {
    fn with(program: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, schema) in [("job", schema::job()), ("result", schema::result())] {
            let path = folder.path().join(format!("{name}.json"));
            fs::write(path, schema.to_string()).expect("a file in our folder");
        }
        let from = root().join("tests/generated").join(program);
        fs::copy(from, folder.path().join(program)).expect("a file in our folder");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// quicktype's classes: `job.LANGUAGE` and `result.LANGUAGE`, each in a folder of its own where it must be.
    async fn quicktype(&self, language: &str, in_folders: bool) {
        for (name, title) in [("job", "LookupJob"), ("result", "LookupResult")] {
            let mut out = format!("{name}.{language}");
            let mut command = node("quicktype");
            command.args([
                "--src-lang",
                "schema",
                "--lang",
                language,
                "--top-level",
                title,
            ]);
            if in_folders {
                fs::create_dir_all(self.path(name)).expect("a folder in ours");
                out = format!("{name}/{out}");
                command.args(["--package", name]);
            }
            command.args(["--out", &out, &format!("{name}.json")]);
            self.run(&mut command, "").await;
        }
    }

    /// What it printed; it must succeed.
    async fn run(&self, command: &mut Command, input: &str) -> String {
        fs::write(self.path("input"), input).expect("a file in our folder");
        let input = fs::File::open(self.path("input")).expect("a file in our folder");
        command
            .current_dir(self.0.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", self.0.path())
            .env("GOCACHE", root().join("target/tools/go-cache"))
            .env("GOFLAGS", "-mod=mod")
            .env("GOTOOLCHAIN", "local")
            .stdin(input);
        let mut taken = Command::new("true");
        std::mem::swap(command, &mut taken);
        let output = spawn_blocking(move || taken.output())
            .await
            .expect("no panic")
            .expect("a program; deploy/test installs it");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Sends what `program jobs` prints, and holds what `program results` makes of the results against what is known.
    async fn ask(&self, program: impl Fn() -> Command, prefix: &str) {
        let jobs = self.run(program().arg("jobs"), "").await;
        let broker = Broker::shared().vhost();
        let sandbox = Served::start().await;
        let config = road::config(&broker.url(), &sandbox, "");
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        let sent = Call::new(&["send"])
            .config(&config)
            .input(&*jobs)
            .run()
            .await
            .expect(0);
        let read = self.run(program().arg("results"), &sent.out).await;
        let mut seen: Vec<&str> = read.lines().collect();
        seen.sort_unstable();
        let mut expected = KINDS.map(|kind| {
            let customer = match kind {
                "antsomi" => "84907089782",
                "omeda" => "12345",
                "kapture" => "191121684",
                "egain" => "1009",
                _ => "5f8d0d55b54764421b7156d9",
            };
            format!("{prefix}-{kind} found {customer}")
        });
        expected.sort_unstable();
        assert_eq!(seen, expected, "{jobs}");
    }
}

#[tokio::test]
#[ignore = "needs datamodel-code-generator: deploy/test"]
async fn pydantics_models_ask_and_read() {
    let workshop = Workshop::with("pydantic_models.py");
    for name in ["job", "result"] {
        let mut command = python("datamodel-codegen");
        command.args(["--input-file-type", "jsonschema"]);
        command.args(["--output-model-type", "pydantic_v2.BaseModel"]);
        command.args([
            "--input",
            &format!("{name}.json"),
            "--output",
            &format!("{name}.py"),
        ]);
        workshop.run(&mut command, "").await;
    }
    let program = || {
        let mut command = python("python");
        command.arg("pydantic_models.py");
        command
    };
    workshop.ask(program, "pydantic").await;
}

#[tokio::test]
#[ignore = "needs quicktype: deploy/test"]
async fn quicktypes_python_asks_and_reads() {
    let workshop = Workshop::with("quicktype_classes.py");
    workshop.quicktype("py", false).await;
    let program = || {
        // What the classes import is there.
        let mut command = python("python3");
        command.arg("quicktype_classes.py");
        command
    };
    workshop.ask(program, "quicktype-python").await;
}

#[tokio::test]
#[ignore = "needs quicktype: deploy/test"]
async fn quicktypes_typescript_asks_and_reads() {
    let workshop = Workshop::with("quicktype.ts");
    workshop.quicktype("ts", false).await;
    compile(&workshop, "quicktype.ts").await;
    workshop
        .ask(|| javascript("quicktype.js"), "quicktype-typescript")
        .await;
}

#[tokio::test]
#[ignore = "needs json-schema-to-typescript: deploy/test"]
async fn json_schema_to_typescripts_types_ask_and_read() {
    let workshop = Workshop::with("json2ts.ts");
    for name in ["job", "result"] {
        let mut command = node("json2ts");
        command.args([format!("{name}.json"), format!("{name}.d.ts")]);
        workshop.run(&mut command, "").await;
    }
    compile(&workshop, "json2ts.ts").await;
    workshop.ask(|| javascript("json2ts.js"), "json2ts").await;
}

#[tokio::test]
#[ignore = "needs quicktype and Go: deploy/test"]
async fn quicktypes_go_asks_and_reads() {
    let workshop = Workshop::with("main.go");
    workshop.quicktype("go", true).await;
    fs::write(workshop.path("go.mod"), "module generated\n\ngo 1.21\n")
        .expect("a file in our folder");
    let ours = root().join("target/tools/go/bin/go");
    let go = if ours.exists() {
        ours
    } else {
        PathBuf::from("go")
    };
    workshop
        .run(Command::new(go).args(["build", "-o", "asks", "."]), "")
        .await;
    workshop
        .ask(|| Command::new(workshop.path("asks")), "quicktype-go")
        .await;
}

async fn compile(workshop: &Workshop, file: &str) {
    let mut command = node("tsc");
    command.args([
        "--strict", "--target", "es2022", "--module", "commonjs", "--types", "",
    ]);
    workshop.run(command.arg(file), "").await;
}

fn javascript(file: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(file);
    command
}
