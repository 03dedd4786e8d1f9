//! The routes below `/_sandbox/` of each port: faults, counts and the last requests.

use http::Method;
use serde_json::json;

use super::{
    fault::Fault,
    port::{Port, Rule},
    wire::{Ask, Reply},
};

/// Below it is the sandbox's own; no API has such a path.
const ROOT: &str = "/_sandbox/";

/// The answer, where the request is one to the sandbox itself.
pub(super) fn answer(port: &Port, ask: &Ask) -> Option<Reply> {
    let route = ask.path().strip_prefix(ROOT)?;
    Some(match (&ask.method, route) {
        (&Method::GET, "stats") => Reply::json(200, port.state().journal.stats()),
        (&Method::GET, "requests") => Reply::json(200, &port.state().journal.requests()),
        (&Method::GET, "faults") => Reply::json(200, &list(port)),
        (&Method::POST, "faults") => add(port, ask),
        (&Method::DELETE, "faults") => done(|| port.state().rules.clear()),
        (&Method::DELETE, "tokens") => done(|| port.state().tokens.revoke()),
        (&Method::POST, "reset") => done(|| port.reset()),
        _ => Reply::json(
            404,
            &json!({ "error": format!("no such control route; there are: {ROUTES}") }),
        ),
    })
}

pub(super) const ROUTES: &str = "GET, POST, DELETE /_sandbox/faults; GET /_sandbox/stats; GET /_sandbox/requests; \
                                 DELETE /_sandbox/tokens; POST /_sandbox/reset";

fn done(act: impl FnOnce()) -> Reply {
    act();
    Reply::empty(204)
}

fn add(port: &Port, ask: &Ask) -> Reply {
    match serde_json::from_slice::<Rule>(&ask.body) {
        Ok(rule) if rule.fault == Fault::NONE => {
            Reply::json(400, &json!({ "error": "fault: nothing goes wrong" }))
        }
        Ok(rule) => {
            port.state().rules.push(rule);
            Reply::json(201, &list(port))
        }
        Err(problem) => Reply::json(400, &json!({ "error": problem.to_string() })),
    }
}

fn list(port: &Port) -> serde_json::Value {
    let state = port.state();
    let rules = state
        .rules
        .iter()
        .map(|rule| json!({ "match": rule.matches, "fault": format!("{:?}", rule.fault), "count": rule.count }));
    json!({ "faults": rules.collect::<Vec<_>>() })
}
