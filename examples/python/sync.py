#!/usr/bin/env python3
"""A bulk sync whose results outlast it: they come to a durable queue of its own.

    sync.py publish PROVIDER < queries.jsonl
    sync.py results COUNT

Each may be ended at any moment and started again: jobs and results lie in the broker meanwhile, in an outage of the
provider, of the workers or of this program too. Prints results as JSON lines, each once in a run. AMQP_URL is the
broker, LOOKUP_PREFIX the worker's amqp.prefix, REPLIES the queue's name.
"""

import json
import os
import sys
import uuid

import pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
REPLIES = os.environ.get("REPLIES", "crm-sync.results")
PATIENCE = 60  # seconds without any result
ROW = uuid.UUID("4c6f6f6b-7570-4353-a96e-63526f770000")  # the namespace of our ids


def publish(channel, provider, queries):
    """Jobs with ids made of what they ask: published again after a crash, they have the same."""
    for query in map(str.strip, queries):
        channel.basic_publish(
            exchange=f"{PREFIX}.jobs",
            routing_key=f"{provider}.bulk",
            body=json.dumps({"query": json.loads(query)}),
            properties=pika.BasicProperties(
                content_type="application/json",
                delivery_mode=pika.DeliveryMode.Persistent,
                message_id=str(uuid.uuid5(ROW, f"{provider} {query}")),
                reply_to=REPLIES,
            ),
            # Raises where a job reaches no queue. To the jobs exchange none does: that one keeps what has no route, and
            # a provider that nobody has is answered `unknown_provider`.
            mandatory=True,
        )


def results(channel, count):
    """The next results; one that comes again, after a crash somewhere, has the same message_id.

    So has the answer to a job that failed and was sent back by `dead replay`: it is taken all the same.
    """
    channel.basic_qos(prefetch_count=100)
    seen = {}
    for method, properties, body in channel.consume(REPLIES, inactivity_timeout=PATIENCE):
        if method is None:
            sys.exit(f"no result within {PATIENCE} s; does a worker run? `lookup-worker check` tells")
        result = json.loads(body)
        if seen.get(properties.message_id, "failed") == "failed":
            seen[properties.message_id] = result["status"]
            print(json.dumps(result), flush=True)
        # Only now: what is not acknowledged comes again.
        channel.basic_ack(method.delivery_tag)
        if len(seen) == count:
            break
    # What was fetched beyond that goes back.
    channel.cancel()


def main():
    command, argument = sys.argv[1:]
    with pika.BlockingConnection(pika.URLParameters(AMQP_URL)) as connection:
        channel = connection.channel()
        # With confirms on, each publish returns once the broker has the job.
        channel.confirm_delivery()
        # Before the first job: a result whose queue is not there becomes a dead letter.
        channel.queue_declare(REPLIES, durable=True, arguments={"x-queue-type": "quorum"})
        if command == "results":
            results(channel, int(argument))
            return
        try:
            publish(channel, argument, sys.stdin)
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404:
                raise
            sys.exit(f"the exchange {PREFIX}.jobs is not there yet: the first worker declares it")


if __name__ == "__main__":
    main()
