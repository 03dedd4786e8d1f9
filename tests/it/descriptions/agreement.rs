//! The schema of jobs and the worker say the same of every job: what one refuses, the other refuses.
//!
//! What no schema can tell is not asked: which days a month has, how deep and how long a context is, bytes where
//! characters are counted, integers beyond 2^53 that went through a float.

use std::sync::LazyLock;

use jiff::Timestamp;
use lookup_worker::{
    job::{Envelope, Job},
    schema,
};
use proptest::{prelude::*, sample::select, string::string_regex};
use serde_json::{Map, Value, json};

use crate::conformance::target;

/// A kind's name, and how its definitions begin.
const KINDS: [(&str, &str); 5] = [
    ("antsomi", "Antsomi"),
    ("omeda", "Omeda"),
    ("kapture", "Kapture"),
    ("egain", "Egain"),
    ("plume", "Plume"),
];

static SCHEMA: LazyLock<Value> = LazyLock::new(schema::job);

static VALIDATORS: LazyLock<Vec<jsonschema::Validator>> = LazyLock::new(|| {
    let of = |(_, title): (&str, &str)| {
        let schema = json!({"$ref": format!("#/$defs/{title}Job"), "$defs": SCHEMA["$defs"]});
        jsonschema::draft202012::new(&schema).expect("a schema")
    };
    KINDS.map(of).into()
});

/// What the worker says of a job for a provider of this kind; none if it takes it.
fn refusal(kind: &str, job: &Value) -> Option<String> {
    let envelope = Envelope {
        routing_key: match job["lane"].as_str() {
            Some("interactive") => "it.interactive".into(),
            _ => "it".into(),
        },
        ..Envelope::default()
    };
    let (body, adapter) = (job.to_string(), target::plain(kind));
    Job::read(
        &envelope,
        body.as_bytes(),
        1 << 20,
        Some(&adapter),
        Timestamp::UNIX_EPOCH,
    )
    .err()
    .map(|none| none.failure.message.into_owned())
}

/// Both say the same of this job, for each kind.
fn agree(job: &Value) -> Result<(), String> {
    for ((kind, _), validator) in KINDS.into_iter().zip(VALIDATORS.iter()) {
        let (refused, error) = (refusal(kind, job), validator.validate(job).err());
        if refused.is_some() != error.is_some() {
            return Err(format!(
                "{kind}: the worker says {refused:?}, the schema {:?}: {job}",
                error.map(|error| error.to_string())
            ));
        }
    }
    Ok(())
}

/// One value of each type, and what is near to a good one.
fn samples() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(7),
        json!(-1),
        json!(5000.0),
        json!(1.5),
        json!(1e300),
        json!(""),
        json!(" \t"),
        json!("x"),
        json!("84907089782"),
        json!([]),
        json!([1]),
        json!(["x"]),
        json!([null]),
        json!({}),
        json!({"a": 1}),
    ]
}

/// A query that the kind takes beside any further criterion.
fn base(kind: &str) -> Value {
    match kind {
        "egain" | "kapture" => json!({"email": "a@b.c"}),
        _ => target::query(kind),
    }
}

fn properties(definition: &str) -> Vec<String> {
    let properties = SCHEMA["$defs"][definition]["properties"].as_object();
    properties.expect("properties").keys().cloned().collect()
}

#[test]
fn every_mistake_names_its_own_field_and_what_was_expected_whatever_type_came() {
    let mut refused = 0;
    for (kind, title) in KINDS {
        for (part, definition) in [("query", "Query"), ("options", "Options"), ("", "Job")] {
            for field in properties(&format!("{title}{definition}")) {
                for value in samples() {
                    // It must be that of the routing key, which no schema knows.
                    if field == "provider" && value.is_string() {
                        continue;
                    }
                    let mut job = json!({"query": base(kind)});
                    match part {
                        "" => job[&field] = value.clone(),
                        "query" if kind == "plume" => job["query"] = json!({&field: value}),
                        part => job[part][&field] = value.clone(),
                    }
                    agree(&job).unwrap();
                    let Some(said) = refusal(kind, &job) else {
                        continue;
                    };
                    refused += 1;
                    let path = [part, &field].join(".");
                    let path = path.trim_start_matches('.');
                    // It is as absent, and what is said is of the whole.
                    if value.is_null() {
                        continue;
                    }
                    let names_it = said.starts_with(&format!("`{path}"))
                        || said.contains(&format!("`{field}`"));
                    assert!(names_it, "{kind}: {path} = {value}: {said}");
                    let says_what = said.contains("expected") || said.contains("missing field");
                    assert!(says_what, "{kind}: {path} = {value}: {said}");
                    assert!(!said.contains("line 1"), "{kind}: {path} = {value}: {said}");
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

fn phone() -> impl Strategy<Value = Value> {
    let known = select(vec![
        "+84 907 089 782",
        "84907089782.0",
        "+44 (0)20 7946 0018",
        "0044 (0)20 7946 0018",
        "(0)20 7946 0018",
        "+4420 (0)7946 0018",
        "+84 (0)123 456 789 012 3",
        "+44 (0)(0)207946",
        "84907089782 / 84907089783",
        "5551234 / 5555678",
        "5551234 5555678",
        "089 / 123456",
        "9999999999999999",
        "anonymous",
        "٠١٢٣",
        "\u{202a}+84\u{a0}907\u{2011}089782\u{202c}",
    ]);
    let text = prop_oneof![
        3 => known.prop_map(str::to_owned),
        4 => string_regex(r"\+?[0-9 ()./-]{1,20}").unwrap(),
        2 => string_regex(r"\+?[0-9]{1,3} ?\( ?0 ?\)[0-9 /.]{6,18}").unwrap(),
        2 => string_regex(r"[0-9]{6,8}[ /\n.-]{1,3}[0-9]{1,8}").unwrap(),
        1 => string_regex(r"[+0-9x,;\n\t ]{0,18}").unwrap(),
    ];
    text.prop_map(Value::from)
}

fn phones() -> impl Strategy<Value = Value> {
    let several = prop::collection::vec(phone(), 0..3).prop_map(Value::from);
    prop_oneof![3 => phone(), 1 => several]
}

fn text() -> impl Strategy<Value = Value> {
    let known = select(vec![
        "a@b.c", "Ada", "null", " NULL ", "nullify", ".", "..", "...", "",
    ]);
    known.prop_map(Value::from)
}

fn id() -> impl Strategy<Value = Value> {
    select(vec![
        json!(0),
        json!(12345),
        json!(12345.0),
        json!(-3),
        json!("12345"),
        json!("0"),
        json!("000"),
        json!("A0"),
        json!("a b"),
        json!("é"),
        json!(u64::MAX),
    ])
}

fn count() -> impl Strategy<Value = Value> {
    select(vec![
        json!(0),
        json!(1),
        json!(25),
        json!(25.0),
        json!(2.5),
        json!(-1),
        json!("1"),
        json!(9_007_199_254_740_991_u64),
        json!(9_007_199_254_740_992_u64),
        json!(1e300),
    ])
}

fn range() -> impl Strategy<Value = Value> {
    select(vec![
        "[2026-01-31T00:00:00Z,2026-02-01]",
        "[2026-01-31 10:00,]",
        " [ , 2026-01-31T00:00:00+01:00 ] ",
        "[,]",
        "[2026-01-31]",
        "2026-01-31,2026-02-01",
        "[yesterday,]",
        "[20260131,]",
        "[2026-01-31,2026-02-01,2026-02-02]",
        "[2026-01-31T00:00:00Z[UTC],]",
    ])
    .prop_map(Value::from)
}

/// A criterion or an option with a value that is meant for it.
fn member(name: &'static str) -> BoxedStrategy<Value> {
    let words =
        |words: &'static [&'static str]| select(words.to_vec()).prop_map(Value::from).boxed();
    match name {
        "phone" => phones().boxed(),
        "customer_id" => id().boxed(),
        "created" => range().boxed(),
        "type" => words(&["individual", "corporate", "group", "person"]),
        "custom" => prop::collection::vec(
            (
                words(&["customer", "contactPerson", "nobody"]),
                text(),
                text(),
            )
                .prop_map(
                    |(object, name, value)| json!({"object": object, "name": name, "value": value}),
                ),
            0..3,
        )
        .prop_map(Value::from)
        .boxed(),
        "activity" => prop_oneof![
            Just(json!({})),
            Just(json!({"type": null})),
            Just(json!({"type": "email", "mode": null})),
            range().prop_map(|range| json!({"sentDate": range})),
            Just(json!({"type": "email", "sentDate": null})),
            Just(json!({"sentDate": 7})),
        ]
        .boxed(),
        "operator" => words(&[
            "equals",
            "contains",
            "matches",
            "not_matches",
            "exists",
            "not_exists",
            "like",
        ]),
        "page" | "limit" | "page_size" | "range_start" | "range_size" => count().boxed(),
        "raw" | "exact_match" | "starts_with" => any::<bool>().prop_map(Value::from).boxed(),
        "extra" => select(vec![
            json!({}),
            json!({"a": null}),
            json!({"phone": "1"}),
            json!({"email_id": 1}),
        ])
        .boxed(),
        "attributes" => {
            prop::collection::vec(words(&["all", "role", "custom.a", "custom. ", "x"]), 0..3)
                .prop_map(Value::from)
                .boxed()
        }
        "sort" => words(&["id", "type", "custom.a", "custom.", "custom.a,b", "name"]),
        "order" => words(&["asc", "desc", "up"]),
        "language" => words(&["en-US", "de-DE", "de"]),
        _ => text().boxed(),
    }
}

/// Some of these members, most with values that are meant for them, some null, some anything.
fn members(names: Vec<String>, usual: usize) -> impl Strategy<Value = Value> {
    let names: Vec<&'static str> = names.into_iter().map(|name| &*name.leak()).collect();
    let one = select(names).prop_flat_map(|name| {
        let value = prop_oneof![
            8 => member(name),
            1 => Just(Value::Null),
            1 => select(samples()),
        ];
        value.prop_map(move |value| (name.to_owned(), value))
    });
    prop::collection::vec(one, 0..=usual)
        .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>()))
}

/// A job for a provider of one of the kinds.
fn job() -> impl Strategy<Value = Value> {
    let kinds = select(vec!["Antsomi", "Omeda", "Kapture", "Egain", "Plume"]);
    kinds.prop_flat_map(|kind| {
        let own = |part: &str| {
            let definition = &SCHEMA["$defs"][format!("{kind}{part}")]["properties"];
            let members = definition.as_object().expect("properties").iter();
            members
                .filter(|(_, member)| member["type"] != "null")
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        let all = properties("AntsomiQuery");
        let query = prop_oneof![6 => members(own("Query"), 2), 1 => members(all, 4)];
        let options = prop_oneof![
            3 => Just(Value::Null),
            3 => members(own("Options"), 3),
            1 => select(samples()),
        ];
        let rest = prop_oneof![
            6 => Just(json!({})),
            1 => count().prop_map(|count| json!({"deadline_ms": count})),
            1 => select(vec!["2026-11-21T10:15:30Z", "2026-11-21 10:15:30.5+01:00", "2026-11-21T10:15:30+0100",
                "2026-11-21", "2026-11-21T10:15:30", "tomorrow", "2026-11-21T10:15:30+01:00[Europe/Paris]"])
                .prop_map(|deadline| json!({"deadline": deadline})),
            1 => select(vec!["interactive", "bulk", "fast"]).prop_map(|lane| json!({"lane": lane})),
            1 => select(samples()).prop_map(|value| json!({"id": value})),
            1 => select(samples()).prop_map(|value| json!({"context": value})),
            1 => select(samples()).prop_map(|value| json!({"unheard_of": value})),
        ];
        (query, options, rest).prop_map(|(query, options, mut job)| {
            job["query"] = query;
            job["options"] = options;
            job
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    #[test]
    fn what_the_schema_refuses_the_worker_refuses_and_nothing_else(job in job()) {
        if let Err(difference) = agree(&job) {
            return Err(TestCaseError::fail(difference));
        }
    }
}

#[test]
fn the_jobs_that_are_generated_are_good_and_bad() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let good = (0..500)
        .map(|_| job().new_tree(&mut runner).expect("a job").current())
        .filter(|job| KINDS.iter().any(|(kind, _)| refusal(kind, job).is_none()))
        .count();
    assert!((100..400).contains(&good), "{good} of 500 are good");
}
