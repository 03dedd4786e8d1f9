#!/usr/bin/env python3
"""Who is calling? What a screen-pop shows of a lookup of several providers, three seconds after the phone rings.

    who_is_calling.py '+84 907 089 782' [LOOKUP]

LOOKUP is a [lookups.NAME] of the worker's, `caller` if none is given. AMQP_URL is the broker, LOOKUP_PREFIX the worker's
amqp.prefix.
"""

import json
import os
import sys
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
DEADLINE = 3  # seconds; the answer is on its way a little earlier, with what is known by then


def ask(channel, lookup, phone):
    """The result, or None if there is no worker."""
    job_id = str(uuid.uuid4())
    replies = channel.queue_declare(f"{PREFIX}.replies.{job_id}", exclusive=True).method.queue
    job = {"query": {"phone": phone}, "deadline_ms": DEADLINE * 1000}
    channel.basic_publish(
        exchange=f"{PREFIX}.jobs",
        routing_key=f"{lookup}.interactive",
        body=json.dumps(job),
        properties=pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=job_id,
            correlation_id=job_id,
            reply_to=replies,
        ),
    )
    for method, properties, body in channel.consume(replies, auto_ack=True, inactivity_timeout=DEADLINE + 1):
        if method is None:
            return None
        if properties.correlation_id == job_id:
            return json.loads(body)


def view(result):
    """What whoever takes the call sees. Nobody is greeted as new unless every provider said that they do not know them."""
    if result is None:
        return "it cannot be told who is calling: no answer"
    if result["status"] == "found":
        first, more = result["customers"][0], len(result["customers"]) - 1
        name = first.get("name", first["customer_id"])
        others = f", and {more} more with this number" if more else ""
        rest = " – not every system could be asked" if result.get("incomplete") else ""
        return f"{name} ({first['source']}){others}{rest}"
    if result["status"] == "not_found":
        unasked = [step["provider"] for step in result.get("steps", []) if step.get("reason") == "no_value"]
        if not unasked:
            return "a new caller: nobody knows the number"
        return f"nobody who could be asked knows the number; {', '.join(unasked)} had nothing to ask by"
    silent = [step["provider"] for step in result.get("steps", []) if step["status"] in ("failed", "skipped")]
    return f"it cannot be told who is calling: {', '.join(silent) or result['error']['message']} gave no answer"


def main():
    phone, lookup = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "caller"
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        print(view(ask(channel, lookup, phone)))


if __name__ == "__main__":
    main()
