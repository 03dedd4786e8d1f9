//! What holds of every job and of every answer, whatever is in them.

use http::Uri;
use proptest::{prelude::*, string::string_regex};
use serde_json::{Map, Value, json, value::to_raw_value};
use url::Url;

use super::{invariants, target};

/// Any JSON, with the members that the kinds look for among it.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        Just("success".to_owned()),
        Just("failed".to_owned()),
        Just("does not exist".to_owned()),
        Just("https://x/customer/12/*".to_owned()),
        Just("2024-05-02 16:15:42".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(200)),
        text.prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "code",
        "data",
        "entries",
        "customer_id",
        "value",
        "phone",
        "meta",
        "total",
        "Customer",
        "PhoneNumbers",
        "PhoneNumber",
        "PhoneContactType",
        "ChangedDate",
        "Errors",
        "Error",
        "MergedIntoCustomerId",
        "Customer Details",
        "status",
        "message",
        "id",
        "contacts",
        "contact",
        "generationDate",
        "month",
        "year",
        "dayOfMonth",
        "customer",
        "paginationInfo",
        "count",
        "type",
        "phoneNo",
        "countryCode",
        "locations",
        "accountId",
        "pin",
        "x",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|members| {
                let members: Map<String, Value> = members
                    .into_iter()
                    .map(|(name, value)| (name.into(), value))
                    .collect();
                Value::from(members)
            }),
        ]
    })
}

fn any_kind() -> impl Strategy<Value = &'static str> {
    prop::sample::select(target::KINDS.to_vec())
}

/// Values that try to leave their place, among any others.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        string_regex(r"[./\\%?#&=@:;+ \t\r\n\x00a-z0-9]{1,12}").unwrap(),
        Just("../../admin".to_owned()),
        Just("%2e%2e%2fadmin".to_owned()),
        Just("x?field=name&exactMatch=false#".to_owned()),
        Just("@evil.example.com/".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn no_bytes_panic_and_none_invents_an_answer(
        kind in any_kind(),
        status in 100_u16..600,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        invariants::hold_of_answer(kind, status, &body);
    }

    #[test]
    fn no_json_panics_and_none_invents_an_answer(
        kind in any_kind(),
        status in prop_oneof![4 => Just(200_u16), 1 => Just(404), 1 => 100_u16..600],
        body in any_json(),
    ) {
        invariants::hold_of_answer(kind, status, body.to_string().as_bytes());
    }

    #[test]
    fn no_query_and_no_options_panic(kind in any_kind(), query in any_json(), options in any_json()) {
        invariants::hold_of_job(kind, &to_raw_value(&query).unwrap(), Some(&to_raw_value(&options).unwrap()));
    }

    #[test]
    fn no_value_changes_the_path_the_host_or_the_parameters(value in any_value()) {
        for (kind, query, path, parameters) in [
            ("egain", json!({ "email": value }), "/core/customermgr/v3/customer", vec!["email"]),
            ("egain", json!({ "customer_name": value }), "/core/customermgr/v3/customer", vec!["customerName"]),
            ("plume", json!({ "name": value }), "/api/Partners/customers/search/", vec!["field", "exactMatch", "startsWith"]),
            ("omeda", json!({ "customer_id": value }), "/webservices/rest/brand/FOO/customer/", vec![]),
        ] {
            let adapter = target::plain(kind);
            let Ok(lookup) = adapter.lookup(&to_raw_value(&query).unwrap(), None) else { continue };
            let uri: &Uri = lookup.request.uri();
            // As the client reads it, which walks up for every `..`.
            let url = Url::parse(&uri.to_string()).unwrap();
            let base = target::plain(kind).lookup(&to_raw_value(&target::query(kind)).unwrap(), None).unwrap();
            prop_assert_eq!(url.host_str(), base.request.uri().host());
            prop_assert!(url.path().starts_with(path), "{}", url);
            prop_assert_eq!(url.path(), uri.path());
            let segments = base.request.uri().path().split('/').count();
            prop_assert_eq!(url.path().split('/').count(), segments, "{}", url);
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(names, parameters);
            prop_assert_eq!(url.fragment(), None);
            if kind == "egain" {
                prop_assert_eq!(&pairs[0].1, &value);
            }
        }
    }

    #[test]
    fn a_value_in_kaptures_body_stays_one_value(value in any_value()) {
        let query = to_raw_value(&json!({ "email": value })).unwrap();
        if let Ok(lookup) = target::plain("kapture").lookup(&query, None) {
            let body: Value = serde_json::from_slice(lookup.request.body()).unwrap();
            prop_assert_eq!(body, json!([{ "email_id": value }]));
        }
    }
}
