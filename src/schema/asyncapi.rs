//! An AsyncAPI 3.0 document of what a producer or a consumer meets on the broker (contract §2 to §4).

use serde_json::{Value, json};

use super::{BINDING, messages::messages};
use crate::{lane::Lane, message::Names};

const ABOUT: &str = "\
Lookup jobs in, one result each out, by RabbitMQ. Written from the worker's side: it receives jobs and sends results. \
Where a header's schema names `message_id`, `correlation_id`, `reply_to`, `expiration`, `timestamp`, `type`, `app_id` \
or `content_type`, the AMQP property is meant; the others are headers. The worker's own queues for delays and quotas \
are nobody else's business.";

/// The document for names that begin with `prefix`.
#[must_use]
pub fn asyncapi(prefix: &str) -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "lookup-worker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": env!("CARGO_PKG_LICENSE")},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{host}:{port}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ, 3.10 or newer; the default virtual host, unless amqp.url names another.",
                "variables": {"host": {"default": "localhost"}, "port": {"default": "5672"}},
                "security": [{"type": "userPassword"}],
            },
        },
        "channels": channels(&Names::new(prefix)),
        "operations": operations(),
        "components": {"messages": messages()},
    })
}

fn channels(names: &Names) -> Value {
    let provider = json!({"description": "The configured name of a provider, [providers.NAME], or of a lookup of several, [lookups.NAME]."});
    let lane = json!({
        "description": "interactive: somebody waits. bulk: nobody does.",
        "enum": Lane::ALL.map(Lane::as_str),
        "default": Lane::Bulk.as_str(),
    });
    let status = json!({"enum": ["found", "not_found", "failed"]});
    let per_lane = names
        .jobs("{provider}", Lane::Bulk)
        .replace(Lane::Bulk.as_str(), "{lane}");
    json!({
        "jobs": {
            "address": "{provider}.{lane}",
            "title": "Where jobs are published",
            "description": format!("Routing key NAME.interactive or NAME.bulk; NAME alone is bulk. A job for a \
                provider that no worker has goes to the queue `unrouted` and is answered from there. {}",
                passively(&names.unrouted())),
            "parameters": {"provider": provider, "lane": lane},
            "messages": {"job": at("job")},
            "bindings": exchange(&names.jobs_exchange(), "topic"),
        },
        "jobQueue": {
            "address": per_lane,
            "title": "Where jobs wait",
            "description": "One queue for each provider and lane; the workers consume them. A job that is published \
                to it by the default exchange is one of that provider and lane. It is a quorum queue with arguments \
                of its own: declare it passively, or not at all.",
            "parameters": {"provider": provider, "lane": lane},
            "messages": {"job": at("job")},
            "bindings": queue(&per_lane),
        },
        "unrouted": {
            "address": names.unrouted(),
            "title": "Jobs for a provider that no worker has",
            "messages": {"job": at("job")},
            "bindings": queue(&names.unrouted()),
        },
        "replies": {
            "address": null,
            "title": "A requester's own queue",
            "description": "Results of jobs with a reply_to, through the default exchange; \
                amq.rabbitmq.reply-to (direct reply-to) too.",
            "messages": {"result": at("result")},
        },
        "resultsExchange": {
            "address": "{provider}.{status}",
            "title": "Results of jobs without a reply_to",
            "description": format!("Bind a queue of your own for a part of them, `*.failed` say. {}",
                passively(&names.dead())),
            "parameters": {"provider": provider, "status": status},
            "messages": {"result": at("result")},
            "bindings": exchange(names.results(), "topic"),
        },
        "results": {
            "address": names.results(),
            "title": "All results of jobs without a reply_to",
            "messages": {"result": at("result")},
            "bindings": queue(names.results()),
        },
        "deadExchange": {
            "address": "",
            "title": "Where the workers, and the broker, put what needs a person",
            "messages": {"deadJob": at("deadJob"), "deadResult": at("deadResult")},
            "bindings": exchange(&names.dead(), "fanout"),
        },
        "dead": {
            "address": names.dead(),
            "title": "What needs a person",
            "description": "Look at it with `lookup-worker dead`.",
            "messages": {"deadJob": at("deadJob"), "deadResult": at("deadResult")},
            "bindings": queue(&names.dead()),
        },
    })
}

/// What the bindings of an exchange have no room for.
fn passively(alternate: &str) -> String {
    format!(
        "The worker declares it. Who declares it too does so passively, or with the argument `alternate-exchange` = \
         `{alternate}`: without, the broker refuses the declaration."
    )
}

/// What the worker does with them.
fn operations() -> Value {
    let reply = json!({
        "address": {"location": "$message.header#/reply_to", "description": "The job's reply_to."},
        "channel": {"$ref": "#/channels/replies"},
        "messages": [{"$ref": "#/channels/replies/messages/result"}],
    });
    let receive = |channel: &str| {
        json!({
            "action": "receive",
            "channel": {"$ref": format!("#/channels/{channel}")},
            "messages": [{"$ref": format!("#/channels/{channel}/messages/job")}],
            "reply": reply,
            "bindings": {"amqp": {"ack": true, "bindingVersion": BINDING}},
        })
    };
    let send = |channel: &str, messages: &[&str], mandatory: bool| {
        let message =
            |name: &&str| json!({"$ref": format!("#/channels/{channel}/messages/{name}")});
        json!({
            "action": "send",
            "channel": {"$ref": format!("#/channels/{channel}")},
            "messages": messages.iter().map(message).collect::<Vec<_>>(),
            "bindings": {"amqp": {
                "deliveryMode": 2, "mandatory": mandatory, "timestamp": true, "bindingVersion": BINDING,
            }},
        })
    };
    json!({
        "receiveJob": receive("jobQueue"),
        "receiveUnroutedJob": receive("unrouted"),
        "sendReply": send("replies", &["result"], true),
        "sendResult": send("resultsExchange", &["result"], false),
        "sendDeadLetter": send("deadExchange", &["deadJob", "deadResult"], true),
    })
}

fn queue(name: &str) -> Value {
    let queue = json!({"name": name, "durable": true, "exclusive": false, "autoDelete": false});
    json!({"amqp": {"is": "queue", "queue": queue, "bindingVersion": BINDING}})
}

fn exchange(name: &str, kind: &str) -> Value {
    let exchange = json!({"name": name, "type": kind, "durable": true, "autoDelete": false});
    json!({"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": BINDING}})
}

fn at(message: &str) -> Value {
    json!({"$ref": format!("#/components/messages/{message}")})
}
