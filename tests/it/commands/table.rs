//! `send --csv`: a CRM's export in, its results beside it, whatever interrupts it.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lookup_worker::sandbox::{Kind, Rates};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::Ran;
use crate::{
    broker::Broker,
    road::{SOON, Served, config},
    worker::{Worker, program},
};

/// Bound of a run with many rows.
const LONG: Duration = Duration::from_mins(30);

/// Bound of a run whose broker is gone for a moment.
const A_RESTART: Duration = Duration::from_mins(3);

/// A road, and a folder with a table and what `send` makes of it.
struct Desk {
    folder: TempDir,
    sandbox: Served,
    _worker: Worker,
}

impl Desk {
    async fn open(url: &str, sandbox: Served) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(url, &sandbox, "");
        fs::write(folder.path().join("config.toml"), &config).expect("a file in our folder");
        let mut worker = Worker::start(&config);
        worker.wait_ready().await;
        Self {
            folder,
            sandbox,
            _worker: worker,
        }
    }

    fn table(&self, bytes: &[u8]) {
        fs::write(self.path("crm.csv"), bytes).expect("a file in our folder");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(["send", "--config", "config.toml", "--csv", "crm.csv"])
            .args(["--provider", "antsomi", "--map", "phone=Mobile"])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    async fn send(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let ended = spawn_blocking(move || command.output());
        let ended = tokio::time::timeout(LONG, ended).await.expect("its end");
        ended.expect("no panic").expect("the built program").into()
    }

    /// The records of the table of results, without its header.
    fn records(&self, separator: u8) -> Vec<Vec<String>> {
        let text = fs::read(self.path("crm.results.csv")).expect("results");
        let mut table = csv::ReaderBuilder::new()
            .delimiter(separator)
            .from_reader(text.as_slice());
        let fields = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
        let records = table.records();
        records
            .map(|row| fields(row.expect("a whole record")))
            .collect()
    }

    async fn lookups(&self) -> u64 {
        let stats = self.sandbox.stats(Kind::Antsomi).await;
        stats["lookups"].as_u64().expect("a number")
    }

    /// Lines in the file of results, whole or not; no row here has a line end within.
    fn lines(&self) -> usize {
        let text = fs::read(self.path("crm.results.csv")).unwrap_or_default();
        text.split(|byte| *byte == b'\n').count().saturating_sub(1)
    }

    /// Starts `send`, kills it with SIGKILL once there are so many results, and tells its largest memory.
    async fn send_and_kill(&self, results: usize) -> u64 {
        let mut child = self.command(&["--id-column", "Id"]).spawn().expect("send");
        let give_up = Instant::now() + LONG;
        while self.lines() <= results {
            assert!(child.try_wait().expect("ours").is_none(), "it ended before");
            assert!(Instant::now() < give_up, "{} results", self.lines());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let memory = largest_memory(&child);
        child.kill().expect("it still runs");
        child.wait().expect("its end");
        memory
    }

    /// Starts `send`, waits for its end, and tells its largest memory as it was seen last.
    async fn send_to_its_end(&self) -> u64 {
        let mut child = self.command(&["--id-column", "Id"]).spawn().expect("send");
        let (mut memory, give_up) = (0, Instant::now() + LONG);
        while child.try_wait().expect("ours").is_none() {
            assert!(Instant::now() < give_up, "{} results", self.lines());
            memory = memory.max(largest_memory(&child));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ran = Ran::from(child.wait_with_output().expect("its output"));
        assert_eq!(ran.code, 0, "{ran:?}");
        memory
    }

    /// Kills `send` at a third and at two thirds of so many rows, and looks at what it wrote. Returns the largest
    /// memory of its three runs, in KiB.
    async fn kill_twice(&self, rows: usize) -> u64 {
        self.table(&table_of(rows));
        let mut memory = self.send_and_kill(rows / 3).await;
        memory = memory.max(self.send_and_kill(rows * 2 / 3).await);
        memory = memory.max(self.send_to_its_end().await);
        let records = self.records(b';');
        let ids: BTreeSet<_> = records.iter().map(|record| &record[0]).collect();
        assert_eq!((records.len(), ids.len()), (rows, rows));
        for record in &records {
            let phone = format!("849{:09}", record[0][2..].parse::<u64>().expect("our id"));
            assert_eq!((&*record[2], &record[4]), ("found", &phone), "{record:?}");
        }
        memory
    }
}

/// A table of distinct customers.
fn table_of(rows: usize) -> Vec<u8> {
    let mut table = String::from("Id;Name;Mobile\r\n");
    for row in 1..=rows {
        let _ = write!(table, "c-{row};\"Lovelace; Ada\";+84 9 {row:09}\r\n");
    }
    table.into_bytes()
}

/// The most memory that a process ever had, in KiB.
fn largest_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number.map_or(0, |number| number.trim().parse().expect("a number"))
}

#[tokio::test]
async fn send_goes_on_with_a_table_where_it_was_killed_and_answers_each_row_once() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::with(|options| {
        options.rates = Rates {
            latency: Duration::from_millis(50),
            ..Rates::default()
        };
    })
    .await;
    let desk = Desk::open(&vhost.url(), sandbox).await;
    desk.kill_twice(3000).await;
    // Asked twice are only jobs of which the broker's confirm was lost with the process.
    let lookups = desk.lookups().await;
    assert!((3000..=3000 + 2 * 64).contains(&lookups), "{lookups}");

    // Nothing is left behind, and nothing left to do.
    let ran = desk.send(&["--id-column", "Id"]).await.expect(0);
    assert!(ran.err.contains("3000 rows are answered"), "{ran:?}");
    assert_eq!(desk.lookups().await, lookups);
    assert!(!desk.path("crm.results.csv.unfinished").exists());
}

#[tokio::test]
#[ignore = "takes minutes; it prints what it measures"]
async fn a_hundred_thousand_rows_with_two_kills() {
    let vhost = Broker::shared().vhost();
    let desk = Desk::open(&vhost.url(), Served::start().await).await;
    let begun = Instant::now();
    let memory = desk.kill_twice(100_000).await;
    let lookups = desk.lookups().await;
    println!(
        "100,000 rows in {:.0?}, {lookups} lookups, at most {memory} KiB",
        begun.elapsed()
    );
    assert!(memory < 64 * 1024, "{memory} KiB");
}

#[tokio::test]
async fn send_reads_what_a_spreadsheet_wrote_and_a_bad_row_is_answered() {
    let vhost = Broker::shared().vhost();
    let desk = Desk::open(&vhost.url(), Served::start().await).await;
    let text = "Id;Name;Mobile;Phone\r\n\
        c-1;Groß, Jürgen;+84 907 089 782;\r\n\
        c-2;Zoë;;84911111111\r\n\
        c-3;nobody;84900000404;\r\n\
        c-4;no number;;\r\n\
        c-1;twice;84907089782;\r\n\
        ;;;\r\n\
        c-5;one; too; many;84907089782\r\n\
        ;no id;84907089782;\r\n";
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let windows: Vec<u8> = text
        .chars()
        .map(|letter| u8::try_from(u32::from(letter)).expect("Latin 1"))
        .collect();
    for (bytes, told, marked) in [
        (text.as_bytes().to_vec(), "UTF-8, separated by ';'", false),
        (
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            "UTF-8 with a byte order mark",
            true,
        ),
        ([b"\xFF\xFE", utf_16.as_slice()].concat(), "UTF-16LE", true),
        (windows, "windows-1252", false),
    ] {
        desk.table(&bytes);
        let _ = fs::remove_file(desk.path("crm.results.csv"));
        let arguments = ["--id-column", "Id", "--map", "phone=Phone"];
        let ran = desk.send(&arguments).await.expect(0);
        assert!(ran.err.contains(told), "{ran:?}");
        assert!(
            ran.err.contains("3 found") && ran.err.contains("3 invalid_job"),
            "{ran:?}"
        );
        assert_eq!(ran.out, "");
        let file = fs::read(desk.path("crm.results.csv")).expect("results");
        assert_eq!(file.starts_with(b"\xEF\xBB\xBF"), marked);
        let records = desk.records(b';');
        let of = |id: &str| {
            let is_it = |record: &&Vec<String>| {
                record[0] == id || id.ends_with('-') && record[0].starts_with(id)
            };
            let record = records.iter().find(is_it);
            let record = record.unwrap_or_else(|| panic!("{id}: {records:?}"));
            (&*record[2], &*record[4], &*record[9], &*record[10])
        };
        assert_eq!(records.len(), 7, "{records:?}");
        assert_eq!(of("c-1").1, "84907089782");
        assert_eq!(of("c-2").1, "c-2001; c-2002");
        assert_eq!(of("c-3").0, "not_found");
        assert_eq!(of("crm-8-").0, "found");
        for (id, words) in [
            ("c-4", "a value in Mobile or Phone"),
            ("c-1 (row 5)", "an earlier row has the same id"),
            ("c-5", "expected 4 fields, got 5"),
        ] {
            let (status, _, error, message) = of(id);
            assert_eq!((status, error), ("failed", "invalid_job"));
            assert!(message.contains(words), "{message}");
        }
    }
}

#[tokio::test]
async fn send_writes_results_of_a_table_as_json_lines_too_and_tells_what_it_does_not_understand() {
    let vhost = Broker::shared().vhost();
    let desk = Desk::open(&vhost.url(), Served::start().await).await;
    desk.table(b"Id,Mobile\n1,84907089782\n2,84911111111\n");
    let arguments = ["--output", "out.jsonl", "--options", r#"{"raw":true}"#];
    desk.send(&arguments).await.expect(0);
    let text = fs::read_to_string(desk.path("out.jsonl")).expect("results");
    let results: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result["raw"].is_object()));

    let rows = b"Id,Mobile,Name\n1,84907089782,Ada\n2,84911111111,Bob\n3,84922222222,Eve\n";
    desk.table(rows);
    for (map, words) in [
        ("phon=Mobile", "`query.phon`"),
        ("phone=", "CRITERION=COLUMN"),
        ("phone=Name", "`query.phone`"),
    ] {
        let mut command = program();
        command.current_dir(desk.folder.path());
        command.args(["send", "--config", "config.toml", "--csv", "crm.csv"]);
        command.args(["--provider", "antsomi", "--map", map]);
        command.args(["--output", "wrong.csv"]);
        let ran = Ran::from(command.output().expect("send")).expect(2);
        assert!(ran.err.contains(words), "{ran:?}");
        assert!(!desk.path("wrong.csv").exists());
    }

    for (arguments, words) in [
        (
            &["--id-column", "Ids"][..],
            r#"no column "Ids"; the first line names "Id", "Mobile""#,
        ),
        (&["--map", "phone"], "CRITERION=COLUMN"),
        (&["--encoding", "klingon"], "a coding's name"),
        (&["--separator", ";;"], "one character"),
        (&["--options", "raw"], "--options: expected a JSON object"),
        (&["--no-wait"], "--no-wait"),
    ] {
        let ran = desk.send(arguments).await.expect(2);
        assert!(ran.err.contains(words), "{ran:?}");
    }
    let mut command = desk.command(&["--output", "nowhere.csv"]);
    command.env("LOOKUP__AMQP__URL", "amqp://127.0.0.1:1");
    let ran = Ran::from(command.output().expect("send")).expect(1);
    assert!(
        ran.err.contains("127.0.0.1:1") && ran.err.contains("0 of 3 rows are answered"),
        "{ran:?}"
    );
    let mut command = program();
    let ran = Ran::from(command.args(["send", "--csv", "x"]).output().expect("send"));
    assert!(ran.expect(2).err.contains("--provider"));
}

#[tokio::test]
async fn send_gives_no_row_anothers_number_and_knows_each_id_again() {
    let vhost = Broker::shared().vhost();
    let desk = Desk::open(&vhost.url(), Served::start().await).await;
    desk.table(
        b"Id,Name,Mobile\n\
        =1,Ada,84907089782\n\
        @2,\"Bob,84911111111\n\
        '=1,Eve,84922222222\n\
        -4x,\"Mal\" lory,84933333333\n\
        c-5,\"King, Ada\",84944444444\n",
    );
    let ran = desk.send(&["--id-column", "Id"]).await.expect(0);
    assert!(
        ran.err.contains("3 found") && ran.err.contains("2 invalid_job"),
        "{ran:?}"
    );
    let rows = |desk: &Desk| -> BTreeSet<(String, String, String)> {
        let records = desk.records(b',');
        assert_eq!(records.len(), 5, "{records:?}");
        let row = |row: Vec<String>| (row[0].clone(), row[4].clone(), row[10].clone());
        records.into_iter().map(row).collect()
    };
    let first = rows(&desk);
    for (id, customer, words) in [
        ("'=1", "84907089782", ""),
        ("'@2", "", "opens field 2"),
        ("''=1", "84922222222", ""),
        ("'-4x", "", "opens field 2"),
        ("c-5", "84944444444", ""),
    ] {
        let is_it = |row: &&(String, String, String)| row.0 == id && row.1 == customer;
        let row = first.iter().find(is_it);
        let row = row.unwrap_or_else(|| panic!("{id}: {first:?}"));
        assert!(row.2.contains(words), "{row:?}");
    }
    let asked = desk.lookups().await;
    let ran = desk.send(&["--id-column", "Id"]).await.expect(0);
    assert!(ran.err.contains("nothing was left to ask"), "{ran:?}");
    assert_eq!((rows(&desk), desk.lookups().await), (first, asked));
}

#[tokio::test]
async fn send_waits_for_a_broker_that_goes_away_and_comes_back() {
    let broker = Broker::start();
    let sandbox = Served::with(|options| {
        options.rates = Rates {
            latency: Duration::from_secs(2),
            ..Rates::default()
        };
    })
    .await;
    let desk = Desk::open(&broker.url(), sandbox).await;
    desk.table(&table_of(1200));
    let mut child = desk.command(&["--id-column", "Id"]).spawn().expect("send");
    let give_up = Instant::now() + SOON;
    while desk.lines() < 100 {
        assert!(Instant::now() < give_up, "{} results", desk.lines());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    broker.write_down();
    broker.kill();
    broker.start_again();
    let ended = spawn_blocking(move || {
        let give_up = Instant::now() + A_RESTART;
        while child.try_wait().expect("ours").is_none() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        child.wait_with_output()
    });
    let ran = Ran::from(ended.await.expect("no panic").expect("its output")).expect(0);
    assert!(ran.err.contains("trying again"), "{ran:?}");
    let records = desk.records(b';');
    let ids: BTreeSet<_> = records.iter().map(|record| &record[0]).collect();
    assert_eq!((records.len(), ids.len()), (1200, 1200));
}

#[tokio::test]
#[ignore = "takes two minutes; by hand"]
async fn send_asks_again_by_another_queue_where_that_for_its_results_has_lost_its_leader() {
    let vhost = Broker::shared().vhost();
    let sandbox = Served::with(|options| options.rates.latency = Duration::from_secs(1)).await;
    let desk = Desk::open(&vhost.url(), sandbox).await;
    desk.table(&table_of(4000));
    let child = desk.command(&["--id-column", "Id"]).spawn().expect("send");
    let give_up = Instant::now() + SOON;
    while desk.lines() < 50 {
        assert!(Instant::now() < give_up, "{} results", desk.lines());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bookmark = fs::read_to_string(desk.path("crm.results.csv.unfinished")).expect("a bookmark");
    let token = bookmark.lines().next().expect("a token");
    let queue = format!("lookup.replies.{token}");
    vhost.deafen(&queue);
    vhost.close_connections();
    let ended = spawn_blocking(move || child.wait_with_output());
    let ended = tokio::time::timeout(A_RESTART, ended)
        .await
        .expect("its end");
    let ran = Ran::from(ended.expect("no panic").expect("its output")).expect(0);
    vhost.let_hear(&queue);
    assert!(ran.err.contains("by a new one"), "{ran:?}");
    let records = desk.records(b';');
    let ids: BTreeSet<_> = records.iter().map(|record| &record[0]).collect();
    assert_eq!((records.len(), ids.len()), (4000, 4000));
}
