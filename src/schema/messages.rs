//! The messages of the AsyncAPI document: properties, headers, bodies, examples.

use serde_json::{Value, json};

use super::{BINDING, job, result};
use crate::{
    dead_letter::AsksFor,
    message::header,
    result::{MESSAGE_TYPE, message_id},
};

pub(super) fn messages() -> Value {
    let job_message = message(
        "job",
        "A lookup request.",
        job(),
        job_headers(),
        job_examples(),
    );
    let mut result_message = message(
        "result",
        "The answer to a job.",
        result(),
        result_headers(),
        result_examples(),
    );
    result_message["bindings"] =
        json!({"amqp": {"messageType": MESSAGE_TYPE, "bindingVersion": BINDING}});
    let anything = json!({"description": "The job's body as it came, whatever it was."});
    let dead_job = message(
        "deadJob",
        "A job that could not be done, with the reason.",
        anything,
        with_reason(job_headers()),
        dead_examples(),
    );
    let dead_result = message(
        "deadResult",
        "A result that its reply queue did not take, with the reason.",
        result(),
        with_reason(result_headers()),
        json!([]),
    );
    json!({"job": job_message, "result": result_message, "deadJob": dead_job, "deadResult": dead_result})
}

fn message(
    name: &str,
    summary: &str,
    mut payload: Value,
    headers: Value,
    examples: Value,
) -> Value {
    rebase(
        &mut payload,
        &format!("#/components/messages/{name}/payload/schema/$defs/"),
    );
    json!({
        "name": name,
        "summary": summary,
        "contentType": "application/json",
        "headers": headers,
        "payload": {"schemaFormat": "application/schema+json;version=draft-2020-12", "schema": payload},
        "correlationId": {
            "location": "$message.header#/correlation_id",
            "description": "Echoed in the result; where a job has none, its id is.",
        },
        "examples": examples,
    })
}

fn job_headers() -> Value {
    json!({
        "type": "object",
        "properties": {
            "message_id": {
                "type": "string", "maxLength": 255,
                "description": "The job's id. Where it is missing, the body's `id` is, else the worker makes one.",
            },
            "correlation_id": {"type": "string", "maxLength": 255, "description": "Echoed in the result."},
            "reply_to": {
                "type": "string", "maxLength": 255,
                "description": "The queue for the result, or amq.rabbitmq.reply-to; without it, see `results`.",
            },
            "expiration": {
                "type": "string", "pattern": "^[0-9]+$",
                "description": "The broker's own TTL in milliseconds; what expires is a dead letter.",
            },
            "timestamp": {"type": "integer", "description": "Seconds since 1970."},
            "content_type": {"type": "string", "const": "application/json"},
            "content_encoding": {
                "type": "string", "pattern": "^(?:[Ii][Dd][Ee][Nn][Tt][Ii][Tt][Yy]|[Uu][Tt][Ff]-8)$",
                "description": "None, identity or utf-8: the body is plain JSON.",
            },
            (header::TRACEPARENT): {
                "type": "string",
                "description": "W3C trace context, continued in the result; left out where it is not sound.",
            },
            (header::TRACESTATE): {"type": "string", "description": "Goes with its traceparent alone."},
        },
    })
}

fn result_headers() -> Value {
    json!({
        "type": "object",
        "properties": {
            "message_id": {
                "type": "string", "format": "uuid",
                "description": "Derived from the job's id alone: a repeated result has the same.",
            },
            "correlation_id": {"type": "string", "maxLength": 255},
            "type": {"type": "string", "const": MESSAGE_TYPE},
            "app_id": {"type": "string", "const": "lookup-worker"},
            "timestamp": {"type": "integer", "description": "Seconds since 1970."},
            "content_type": {"type": "string", "const": "application/json"},
            (header::STATUS): {"type": "string", "enum": ["found", "not_found", "failed"]},
            (header::TRACEPARENT): {"type": "string"},
            (header::TRACESTATE): {"type": "string"},
        },
        "required": ["message_id", "correlation_id", "type", "app_id", "timestamp", "content_type", header::STATUS],
    })
}

/// Why a message is a dead letter. Where the broker dead-lettered it, its own `x-death` tells instead.
fn with_reason(mut headers: Value) -> Value {
    let reason = [
        (
            header::ERROR,
            json!({"type": "string", "description": "The class of the failure."}),
        ),
        (
            header::ASKS_FOR,
            json!({
                "type": "string", "enum": AsksFor::ALL.map(AsksFor::as_str),
                "description": "nobody where the requester made the mistake and was told, or waits no more.",
            }),
        ),
        (
            header::MESSAGE,
            json!({"type": "string", "description": "What was expected, what came, what to do."}),
        ),
        (
            header::ATTEMPTS,
            json!({"type": "integer", "minimum": 0, "description": "HTTP requests made."}),
        ),
        (
            header::ROUTING_KEY,
            json!({"type": "string", "description": "Where the message was bound for."}),
        ),
        (
            header::DIED_AT,
            json!({"type": "integer", "description": "Milliseconds since 1970."}),
        ),
        (
            "x-death",
            json!({"type": "array", "description": "RabbitMQ's own account."}),
        ),
    ];
    for (name, schema) in reason {
        headers["properties"][name] = schema;
    }
    headers
}

fn job_examples() -> Value {
    json!([
        {
            "name": "call",
            "summary": "Somebody waits on the telephone. Routing key antsomi.interactive.",
            "headers": {"message_id": "j-1", "correlation_id": "call-42", "reply_to": "amq.rabbitmq.reply-to"},
            "payload": {
                "query": {"phone": "+84 907 089 782"},
                "deadline_ms": 3000,
                "context": {"call_id": "c-42"},
            },
        },
        {
            "name": "sync",
            "summary": "A CRM sync; the result goes to the results queue. Routing key omeda.bulk.",
            "headers": {"message_id": "j-2"},
            "payload": {"query": {"customer_id": 12345}, "options": {"raw": true}},
        },
    ])
}

fn result_examples() -> Value {
    let headers = |id: &str, status: &str| {
        json!({
            "message_id": message_id(id).to_string(),
            "correlation_id": id,
            "type": MESSAGE_TYPE,
            "app_id": "lookup-worker",
            "timestamp": 1_795_256_129,
            "content_type": "application/json",
            (header::STATUS): status,
        })
    };
    json!([
        {
            "name": "found",
            "headers": headers("j-1", "found"),
            "payload": {
                "job_id": "j-1", "provider": "antsomi", "status": "found",
                "customers": [{"customer_id": "84907089782", "phones": [{"number": "84907089782"}]}],
                "page": {"total": 1},
                "attempts": 1, "duration_ms": 12, "completed_at": "2026-11-21T10:15:29.512Z",
                "context": {"call_id": "c-42"},
            },
        },
        {
            "name": "notFound",
            "headers": headers("j-2", "not_found"),
            "payload": {
                "job_id": "j-2", "provider": "omeda", "status": "not_found",
                "attempts": 1, "duration_ms": 9, "completed_at": "2026-11-21T10:15:29.512Z",
            },
        },
        {
            "name": "failed",
            "headers": headers("j-3", "failed"),
            "payload": {
                "job_id": "j-3", "provider": "plume", "status": "failed",
                "error": {
                    "kind": "rate_limited", "message": "the provider answers 429: too many requests",
                    "http_status": 429, "retryable": true,
                },
                "attempts": 8, "duration_ms": 61_204, "completed_at": "2026-11-21T10:15:29.512Z",
            },
        },
    ])
}

fn dead_examples() -> Value {
    json!([{
        "name": "malformed",
        "headers": {
            "message_id": "j-4",
            (header::ERROR): "invalid_job",
            (header::MESSAGE): "`query.phon`: unknown field `phon`, expected one of those of the kind",
            (header::ATTEMPTS): 0,
            (header::ROUTING_KEY): "antsomi.interactive",
        },
        "payload": {"query": {"phon": "84907089782"}},
    }])
}

/// References count from the root of the document that they stand in.
fn rebase(value: &mut Value, definitions: &str) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{definitions}{name}");
            }
            fields
                .values_mut()
                .for_each(|value| rebase(value, definitions));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, definitions)),
        _ => {}
    }
}
