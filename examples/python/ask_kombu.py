#!/usr/bin/env python3
"""Asks for one customer with kombu, the library below Celery, and waits for the answer.

    ask_kombu.py PROVIDER '{"phone": "+84 907 089 782"}'

AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix. Exits 0 when there is an answer, 1 when none came.
"""

import json
import os
import socket
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone

from kombu import Connection, Consumer, Producer, Queue

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
PATIENCE = 10  # seconds; the worker gives up at the job's deadline, a little earlier


def ask(connection, provider, query):
    """Publishes a job and returns its result, or None if none came in time."""
    job_id = str(uuid.uuid4())
    channel = connection.channel()
    replies = Queue(f"{PREFIX}.replies.{job_id}", durable=False, exclusive=True)(channel)
    replies.declare()
    deadline = datetime.now(timezone.utc) + timedelta(seconds=PATIENCE - 1)
    # Strings and numbers alone: of a datetime, a UUID or a Decimal kombu makes objects of its own.
    job = {"query": query, "deadline": deadline.isoformat()}
    Producer(channel).publish(
        job,
        serializer="json",
        # No compression=: the worker takes plain JSON. Persistent by default.
        exchange=f"{PREFIX}.jobs",
        routing_key=f"{provider}.interactive",
        message_id=job_id,
        correlation_id=job_id,
        reply_to=replies.name,
    )
    results = []
    with Consumer(channel, queues=[replies], accept=["json"], on_message=results.append, no_ack=True):
        give_up = time.monotonic() + PATIENCE
        while (left := give_up - time.monotonic()) > 0:
            try:
                connection.drain_events(timeout=left)
            except socket.timeout:
                return None
            for message in results:
                if message.properties["correlation_id"] == job_id:
                    return message.decode()
    return None


def main():
    provider, query = sys.argv[1], json.loads(sys.argv[2])
    # With confirms on, publish returns once the broker has the job.
    with Connection(AMQP_URL, transport_options={"confirm_publish": True}) as connection:
        result = ask(connection, provider, query)
    if result is None:
        sys.exit(f"no answer within {PATIENCE} s; does a worker run?")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
