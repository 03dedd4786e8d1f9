//! Every mistake in `[lookups]` is told at start, by its key.

use crate::commands::Call;

const PROVIDERS: &str = "[providers.a]\nkind = \"antsomi\"\nbase_url = \"https://a.example\"\ntoken = \"hunter2\"\n\
    [providers.b]\nkind = \"plume\"\nbase_url = \"https://b.example\"\ntoken = \"hunter2\"\n";

/// A lookup whose first step is sound; `more` stands in its table.
fn lookup(mode: &str, more: &str, second: &str) -> String {
    format!(
        "[lookups.l]\nmode = \"{mode}\"\ncriteria = [\"phone\"]\n{more}\n[[lookups.l.steps]]\nprovider = \"a\"\n\
         query = {{ phone = \"{{query.phone}}\" }}\n{second}\n"
    )
}

fn step(keys: &str) -> String {
    format!("[[lookups.l.steps]]\n{keys}\n")
}

#[tokio::test]
async fn each_mistake_of_a_lookup_is_named_by_its_key() {
    let of = |mode: &str, keys: &str| lookup(mode, "", &step(keys));
    let sound = "provider = \"b\"\nquery = { name = \"x\" }";
    let cases: &[(String, &str, &[&str])] = &[
        (of("first", "provider = \"l\"\nquery = { name = \"x\" }"), "lookups.l.steps[1].provider", &["is a lookup"]),
        (
            of("first", "provider = \"m\"\nquery = { name = \"x\" }")
                + "[lookups.m]\nmode = \"first\"\ncriteria = [\"phone\"]\n[[lookups.m.steps]]\nprovider = \"a\"\n\
                   query = { phone = \"{query.phone}\" }\n",
            "lookups.l.steps[1].provider",
            &["\"m\" is a lookup"],
        ),
        (
            of("first", "provider = \"c\"\nquery = { name = \"x\" }"),
            "lookups.l.steps[1].provider",
            &["no provider \"c\"", "a, b"],
        ),
        (
            of("first", "provider = \"a\"\nquery = { phone = \"{query.phone}\" }\noptions = { operator = \"equalz\" }"),
            "lookups.l.steps[1].options.operator",
            &["equals"],
        ),
        (
            of("first", "provider = \"a\"\nquery = { phone = \"{query.phone}\" }\noptions = { page = 0 }"),
            "lookups.l.steps[1].options.page",
            &["1"],
        ),
        (
            of("first", "provider = \"a\"\nquery = { phone = \"12345678901234567890\" }"),
            "lookups.l.steps[1].query.phone",
            &["15 digits"],
        ),
        (
            lookup("first", "", "").replace("[\"phone\"]", "[\"phone\", \"email\"]"),
            "lookups.l.criteria",
            &["no step takes \"email\"", "{query.email}"],
        ),
        (
            of("first", "provider = \"b\"\nquery = { email = \"{query.email}\" }"),
            "lookups.l.steps[1].query.email",
            &["{query.email}", "no criterion", "phone"],
        ),
        (
            of("chain", "provider = \"b\"\nquery = { account_id = \"{customer.account}\" }"),
            "lookups.l.steps[1].query.account_id",
            &["leads nowhere"],
        ),
        (
            of("chain", "provider = \"b\"\nquery = { name = \"{customer.phones.number}\" }"),
            "lookups.l.steps[1].query.name",
            &["leads nowhere"],
        ),
        (
            of("chain", "provider = \"b\"\nquery = { name = \"{customer.phones}\" }"),
            "lookups.l.steps[1].query.name",
            &["leads nowhere"],
        ),
        (
            of("chain", "provider = \"b\"\nquery = { account_id = \"{customer.account_id}\" }"),
            "lookups.l.steps[1].query.account_id",
            &["leads nowhere", "account_id", "no step before", "customer_id, phones"],
        ),
        (
            of("chain", "provider = \"b\"\nquery = { account_id = \"{query.phone}\" }")
                + &step("provider = \"a\"\nquery = { phone = \"{customer.contacts[0].phones[0].number}\" }"),
            "lookups.l.steps[2].query.phone",
            &["leads nowhere", "contacts", "customer_id, phones, account_id, name, emails, locations"],
        ),
        (
            "[lookups.l]\nmode = \"chain\"\ncriteria = [\"phone\"]\n[[lookups.l.steps]]\nprovider = \"a\"\n\
             query = { phone = \"{query.phone}{customer.name}\" }\n".into(),
            "lookups.l.steps[0].query.phone",
            &["leads nowhere", "first"],
        ),
        (
            of("first", "provider = \"b\"\nquery = { account_id = \"{customer.account_id}\" }"),
            "lookups.l.steps[1].query.account_id",
            &["mode chain"],
        ),
        (of("first", "provider = \"b\"\nquery = { name = \"{query.phone\" }"), "lookups.l.steps[1].query.name", &["no end"]),
        (of("first", "provider = \"b\"\nquery = { name = \"{phone}\" }"), "lookups.l.steps[1].query.name", &["{query.NAME}"]),
        (of("first", "provider = \"b\"\nquery = {}"), "lookups.l.steps[1].query", &["empty"]),
        (of("first", "provider = \"b\"\nquery = { fax = \"x\" }"), "lookups.l.steps[1].query.fax", &["kind plume", "account_id"]),
        (
            of("first", "provider = \"b\"\nquery = { name = \"x\" }\noptions = { page = 1 }"),
            "lookups.l.steps[1].options.page",
            &["exact_match"],
        ),
        (of("first", "provider = \"b\""), "lookups.l.steps[1].query", &["missing key"]),
        (of("first", "query = { name = \"x\" }"), "lookups.l.steps[1].provider", &["missing key"]),
        (of("first", &format!("{sound}\nnope = 1")), "lookups.l.steps[1].nope", &["unknown key", "wanted"]),
        (of("first", &format!("{sound}\nwanted = [\"fax\"]")), "lookups.l.steps[1].wanted", &["fax", "phones"]),
        (of("first", &format!("{sound}\nfan_out = 2")), "lookups.l.steps[1].fan_out", &["mode chain"]),
        (lookup("first", "fan_out = 2", ""), "lookups.l.fan_out", &["mode chain"]),
        (lookup("chain", "fan_out = 0", ""), "lookups.l.fan_out", &["at least 1"]),
        (lookup("merge", "prefer_for = \"1s\"", ""), "lookups.l.prefer_for", &["mode race"]),
        (lookup("race", "by = [\"phones\"]", ""), "lookups.l.by", &["mode merge"]),
        (lookup("merge", "by = []", ""), "lookups.l.by", &["empty"]),
        (lookup("merge", "by = [\"names\"]", ""), "lookups.l.by", &["names", "customer_id"]),
        (lookup("race", "prefer_for = \"soon\"", ""), "lookups.l.prefer_for", &["soon"]),
        (lookup("first", "deadline = \"0s\"", ""), "lookups.l.deadline", &["longer than zero"]),
        (lookup("first", "nope = 1", ""), "lookups.l.nope", &["unknown key", "criteria"]),
        (lookup("last", "", ""), "lookups.l.mode", &["last", "chain"]),
        (lookup("first", "", "").replace("mode = \"first\"", ""), "lookups.l.mode", &["missing key"]),
        (lookup("first", "", "").replace("[lookups.l", "[lookups.a").replace("[[lookups.l", "[[lookups.a"), "lookups.a", &["provider's name"]),
        ("[lookups.\"x.y\"]\nmode = \"first\"\n".into(), "lookups.x.y", &["routing keys"]),
        ("[lookups.l]\nmode = \"first\"\ncriteria = [\"phone\"]\nsteps = []\n".into(), "lookups.l.steps", &["at least one step"]),
        (lookup("first", "", "").replace("[\"phone\"]", "[]"), "lookups.l.criteria", &["is empty"]),
        (
            lookup("first", "", "").replace("[\"phone\"]", "[]"),
            "lookups.l.steps[0].query.phone",
            &["no criterion of the lookup; it has none"],
        ),
        ("lookups = 3\n".into(), "lookups", &["expected one table"]),
    ];
    for (toml, key, names) in cases {
        let config = if toml.starts_with("lookups = ") {
            format!("{toml}{PROVIDERS}")
        } else {
            format!("{PROVIDERS}{toml}")
        };
        let ran = Call::new(&["pipe"]).config(&config).run().await.expect(2);
        assert!(
            ran.err.contains(&format!("`{key}`")),
            "{key} is named: {ran:?}\n{config}"
        );
        for name in *names {
            assert!(ran.err.contains(name), "{name} in {ran:?}\n{config}");
        }
        assert!(
            !ran.err.contains("hunter2") && ran.out.is_empty(),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn what_is_unknown_to_a_step_s_provider_is_told_once_and_what_else_is_wrong_too() {
    let wrong = lookup("first", "", "").replace(
        "{query.phone}\" }",
        "{query.phone}\" }\noptions = { limt = 3, page = 0 }",
    );
    let config = format!("{PROVIDERS}{wrong}");
    let ran = Call::new(&["pipe"]).config(&config).run().await.expect(2);
    let told = |key: &str| {
        ran.err
            .matches(&format!("`lookups.l.steps[0].{key}`"))
            .count()
    };
    assert_eq!(
        (told("options.limt"), told("options.page")),
        (1, 1),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_path_that_some_step_before_fills_is_taken_also_where_a_descriptor_says_so() {
    let hubspot = format!(
        "[providers.h]\nkind = \"http\"\nbase_url = \"https://h.example\"\ntoken = \"t\"\ndescriptor = \"{}/examples/providers/hubspot.toml\"\n",
        env!("CARGO_MANIFEST_DIR")
    );
    let chain = |path: &str| {
        let steps = step("provider = \"h\"\nquery = { phone = \"{query.phone}\" }")
            + &step(&format!(
                "provider = \"b\"\nquery = {{ email = \"{{customer.{path}}}\" }}"
            ));
        format!("{PROVIDERS}{hubspot}{}", lookup("chain", "", &steps))
    };
    for path in ["emails[0].address", "customer_id", "phones[0].number"] {
        let call = Call::new(&["pipe"]).config(&chain(path));
        call.run().await.expect(0);
    }
    let call = Call::new(&["pipe"]).config(&chain("locations[0].id"));
    let ran = call.run().await.expect(2);
    assert!(
        ran.err.contains("`lookups.l.steps[2].query.email`"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_lookup_in_every_mode_is_taken() {
    let step = step(
        "provider = \"b\"\nquery = { account_id = \"{customer.phones[0].number}\" }\nfan_out = 3",
    );
    for toml in [
        lookup("first", "deadline = \"3s\"", ""),
        lookup("race", "prefer_for = \"0ms\"", ""),
        lookup(
            "merge",
            "by = [\"phones\", \"emails\", \"customer_id\"]",
            "",
        ),
        lookup("chain", "fan_out = 2", &step),
    ] {
        let call = Call::new(&["pipe"]).config(&format!("{PROVIDERS}{toml}"));
        call.run().await.expect(0);
    }
}
