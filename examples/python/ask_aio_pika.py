#!/usr/bin/env python3
"""Asks for one customer with aio-pika and waits for the answer.

    ask_aio_pika.py PROVIDER '{"phone": "+84 907 089 782"}'

AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix. Exits 0 when there is an answer, 1 when none came.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import datetime, timedelta, timezone

import aio_pika

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
PATIENCE = 10  # seconds; the worker gives up at the job's deadline, a little earlier


async def ask(channel, provider, query):
    """Publishes a job and returns its result."""
    job_id = str(uuid.uuid4())
    # The broker names it, and it goes with the connection.
    replies = await channel.declare_queue(exclusive=True)
    # With its zone: a datetime without one would be no RFC 3339.
    deadline = datetime.now(timezone.utc) + timedelta(seconds=PATIENCE - 1)
    message = aio_pika.Message(
        json.dumps({"query": query, "deadline": deadline.isoformat()}).encode(),
        content_type="application/json",
        # Else a job is gone when the broker restarts.
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=job_id,
        correlation_id=job_id,
        reply_to=replies.name,
    )
    # Not declared anew: it is the worker's.
    jobs = await channel.get_exchange(f"{PREFIX}.jobs", ensure=False)
    # Returns once the broker has the job; raises DeliveryError where no queue took it.
    await jobs.publish(message, routing_key=f"{provider}.interactive")
    async with replies.iterator(timeout=PATIENCE) as answers:
        async for answer in answers:
            async with answer.process():
                if answer.correlation_id == job_id:
                    return json.loads(answer.body)


async def main():
    provider, query = sys.argv[1], json.loads(sys.argv[2])
    async with await aio_pika.connect(AMQP_URL) as connection:
        # Confirms are on by default.
        channel = await connection.channel(on_return_raises=True)
        try:
            result = await ask(channel, provider, query)
        except aio_pika.exceptions.DeliveryError:
            sys.exit("no queue takes such a job; does a worker run?")
        except asyncio.TimeoutError:
            sys.exit(f"no answer within {PATIENCE} s; does a worker run?")
    print(json.dumps(result))
    if result["status"] == "failed":
        error = result["error"]
        again = "the same job may do better later" if error["retryable"] else "the same job would fail again"
        print(f"{error['kind']}: {error['message']}; {again}", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(main())
