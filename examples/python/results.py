#!/usr/bin/env python3
"""Publishes bulk jobs from JSON lines, then takes results off the results queue.

    results.py PROVIDER COUNT < queries.jsonl

Prints COUNT results as JSON lines. AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix.
"""

import json
import os
import sys
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
PATIENCE = 30  # seconds without any result


def publish(channel, provider, queries):
    """Jobs without a reply_to: their results go to PREFIX.results."""
    for query in queries:
        channel.basic_publish(
            exchange=f"{PREFIX}.jobs",
            routing_key=f"{provider}.bulk",
            body=json.dumps({"query": json.loads(query)}),
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=str(uuid.uuid4()),
            ),
        )


def results(channel, count):
    """Results, each once: after a crash somewhere one may come again, with the same message_id."""
    channel.basic_qos(prefetch_count=100)
    seen = set()
    for method, properties, body in channel.consume(f"{PREFIX}.results", inactivity_timeout=PATIENCE):
        if method is None:
            sys.exit(f"no result within {PATIENCE} s; does a worker run?")
        if properties.message_id not in seen:
            seen.add(properties.message_id)
            yield json.loads(body)
        # Only now: what is not acknowledged comes again.
        channel.basic_ack(method.delivery_tag)
        if len(seen) == count:
            break
    # What was fetched beyond that goes back.
    channel.cancel()


def main():
    provider, count = sys.argv[1], int(sys.argv[2])
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        publish(channel, provider, sys.stdin)
        for result in results(channel, count):
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
