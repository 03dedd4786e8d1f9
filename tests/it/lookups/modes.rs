//! What the steps' words come to, in every mode: each row of the table in `docs/lookups.md` is asked.

use std::fmt::Write;
use std::io::{BufRead, BufReader, Write as _};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::Cast;
use crate::{
    commands::{Call, Guarded},
    road::SOON,
};

const DOCUMENT: &str = include_str!("../../../docs/lookups.md");

/// One row.
#[derive(Debug)]
struct Row {
    mode: &'static str,
    steps: [&'static str; 2],
    status: &'static str,
    by: &'static str,
    error: &'static str,
    incomplete: bool,
    told: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let lines = DOCUMENT
        .lines()
        .filter(|line| line.matches('|').count() == 9);
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Row {
            mode: cells[1],
            steps: [cells[2], cells[3]],
            status: cells[4],
            by: cells[5],
            error: cells[6],
            incomplete: cells[7] == "yes",
            told: cells[8].split(", ").collect(),
        }
    });
    rows.filter(|row| ["first", "race", "merge", "chain"].contains(&row.mode))
        .collect()
}

/// The part that a step's provider plays.
fn part(word: &str) -> &str {
    match word {
        "found" | "skipped" => "found",
        "lacking" => "lacking",
        "refused" => "403",
        "failed" => "500",
        // What is not asked would be noticed.
        "–" => "two",
        _ => "none",
    }
}

fn lookup(number: usize, row: &Row) -> String {
    let mut toml = format!(
        "[lookups.row{number}]\nmode = \"{}\"\ncriteria = [\"account_id\", \"name\"]\ndeadline = \"20s\"\n",
        row.mode
    );
    if row.mode == "race" {
        toml.push_str("prefer_for = \"10s\"\n");
    }
    for (step, word) in ["a", "b"].iter().zip(row.steps) {
        let query = match (word, row.mode, *step) {
            ("no_value", ..) => "name = \"{query.name}\"",
            (_, "chain", "b") => "account_id = \"{customer.account_id}\"",
            _ => "account_id = \"{query.account_id}\"",
        };
        let _ = write!(
            toml,
            "[[lookups.row{number}.steps]]\nprovider = \"{step}-{number}\"\nquery = {{ {query} }}\nwanted = [\"name\"]\n"
        );
    }
    // Every criterion is taken by somebody, who is asked by nobody here.
    let _ = write!(
        toml,
        "[[lookups.row{number}.steps]]\nprovider = \"idle\"\nquery = {{ name = \"{{query.name}}{{query.account_id}}\" }}\n"
    );
    toml
}

#[tokio::test]
async fn each_row_of_the_table_is_so() {
    let rows = rows();
    assert!(rows.len() > 60, "{} rows", rows.len());
    let cast = Cast::start().await;
    let mut config = "[retry]\nmax_attempts = 1\n".to_owned() + &cast.provider("idle", "none", "");
    let mut jobs = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (step, word) in ["a", "b"].iter().zip(row.steps) {
            let keys = match word {
                "skipped" => "quota = { requests = 1, per = \"1h\", scope = \"worker\" }",
                _ => "quota = \"none\"",
            };
            let name = format!("{step}-{number}");
            config += &cast.provider(&name, part(word), keys);
            if word == "skipped" {
                // Its quota is used up.
                let _ = writeln!(
                    jobs,
                    r#"{{"id":"up","provider":"{name}","lane":"interactive","query":{{"name":"x"}}}}"#
                );
            }
        }
        config += &lookup(number, row);
    }
    let ask = |number: usize| {
        json!({"id": number.to_string(), "provider": format!("row{number}"), "lane": "interactive",
        "query": {"account_id": "acc-1"}})
        .to_string()
    };
    let lines: Vec<String> = (0..rows.len()).map(ask).collect();
    let results = in_turn(&config, &[jobs, lines.join("\n") + "\n"]).await;
    for (number, row) in rows.iter().enumerate() {
        let result = results
            .iter()
            .find(|result| result["job_id"] == *number.to_string())
            .unwrap_or_else(|| panic!("{row:?} is not answered"));
        holds(number, row, result);
    }
}

/// The results of these lines, each part of which is written once the one before is answered.
async fn in_turn(config: &str, parts: &[String]) -> Vec<Value> {
    let (call, parts) = (Call::new(&["pipe"]).config(config), parts.to_vec());
    let asked = spawn_blocking(move || {
        let folder = call.folder.path().to_owned();
        let (child, kept) = call.start_kept();
        let child = Guarded::new(child);
        let (mut input, output) = {
            let mut child = child.0.lock().expect("no panic");
            (
                child.stdin.take().expect("a pipe"),
                child.stdout.take().expect("a pipe"),
            )
        };
        let mut results = BufReader::new(output).lines();
        let mut read = Vec::new();
        for part in parts {
            input.write_all(part.as_bytes()).expect("a reader");
            for _ in part.lines() {
                let line = results
                    .next()
                    .unwrap_or_else(|| panic!("no result, {}", folder.display()));
                read.push(serde_json::from_str(&line.expect("a line")).expect("JSON"));
            }
        }
        drop(kept);
        read
    });
    tokio::time::timeout(SOON, asked)
        .await
        .expect("soon")
        .expect("no panic")
}

fn holds(number: usize, row: &Row, result: &Value) {
    let shown = format!("{row:?}\n{result:#}");
    assert_eq!(result["status"], row.status, "{shown}");
    assert_eq!(result["provider"], format!("row{number}"), "{shown}");
    let by = match row.by {
        "" => Value::Null,
        by => format!("{by}-{number}").into(),
    };
    assert_eq!(result["answered_by"], by, "{shown}");
    let error = match row.error {
        "" => Value::Null,
        error => error.into(),
    };
    assert_eq!(result["error"]["kind"], error, "{shown}");
    let incomplete = if row.incomplete {
        json!(true)
    } else {
        Value::Null
    };
    assert_eq!(result["incomplete"], incomplete, "{shown}");
    let steps = result["steps"].as_array().expect("steps");
    let told: Vec<&Value> = steps
        .iter()
        .filter(|step| step["provider"] != "idle")
        .map(|step| &step["status"])
        .collect();
    assert_eq!(told, row.told, "{shown}");
    let sum: u64 = steps
        .iter()
        .filter_map(|step| step["attempts"].as_u64())
        .sum();
    assert_eq!(result["attempts"], sum, "{shown}");
    for step in steps {
        let reason = match step["status"].as_str() {
            Some("skipped") => !step["reason"].is_null(),
            _ => step["reason"].is_null(),
        };
        assert!(
            reason && step["duration_ms"].is_u64() && step["cached"] == false,
            "{shown}"
        );
        assert_eq!(
            step["status"] == "failed",
            step["error"].is_string(),
            "{shown}"
        );
    }
}
