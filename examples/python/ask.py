#!/usr/bin/env python3
"""Asks for one customer and waits for the answer.

    ask.py PROVIDER '{"phone": "+84 907 089 782"}'

AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix. Exits 0 when there is an answer, 1 when none came.
"""

import json
import os
import sys
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
PATIENCE = 10  # seconds; the worker gives up at the job's deadline, a little earlier


def ask(channel, provider, query):
    """Publishes a job and returns its result, or None if none came in time."""
    job_id = str(uuid.uuid4())
    # A queue of our own, gone with the connection. A program that asks often keeps one and tells the answers apart
    # by their correlation_id.
    replies = channel.queue_declare(f"{PREFIX}.replies.{job_id}", exclusive=True).method.queue
    job = {"query": query, "deadline_ms": (PATIENCE - 1) * 1000}
    # With confirms on, this returns once the broker has the job.
    channel.basic_publish(
        exchange=f"{PREFIX}.jobs",
        routing_key=f"{provider}.interactive",
        body=json.dumps(job),
        properties=pika.BasicProperties(
            content_type="application/json",
            delivery_mode=pika.DeliveryMode.Persistent,
            message_id=job_id,
            correlation_id=job_id,
            reply_to=replies,
        ),
    )
    for method, properties, body in channel.consume(replies, auto_ack=True, inactivity_timeout=PATIENCE):
        if method is None:
            return None
        if properties.correlation_id == job_id:
            return json.loads(body)


def main():
    provider, query = sys.argv[1], json.loads(sys.argv[2])
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        result = ask(channel, provider, query)
    if result is None:
        sys.exit(f"no answer within {PATIENCE} s; does a worker run?")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
