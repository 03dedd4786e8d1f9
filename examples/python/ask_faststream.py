#!/usr/bin/env python3
"""Asks for one customer with FastStream and waits for the answer.

    ask_faststream.py PROVIDER '{"phone": "+84 907 089 782"}'

AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix. Exits 0 when there is an answer, 1 when none came.
"""

import asyncio
import json
import os
import sys
import uuid
from datetime import datetime, timedelta, timezone

from faststream.rabbit import RabbitBroker, RabbitExchange

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2f")
PREFIX = os.environ.get("LOOKUP_PREFIX", "lookup")
PATIENCE = 10  # seconds; the worker gives up at the job's deadline, a little earlier

# The worker's own: declared here, it would be asked for as another type, and the channel would close.
JOBS = RabbitExchange(f"{PREFIX}.jobs", declare=False)


async def ask(broker, provider, query):
    """Publishes a job and returns its result. The answer comes by direct reply-to, which `request` sets up."""
    job_id = str(uuid.uuid4())
    deadline = datetime.now(timezone.utc) + timedelta(seconds=PATIENCE - 1)
    answer = await broker.request(
        {"query": query, "deadline": deadline.isoformat()},
        exchange=JOBS,
        routing_key=f"{provider}.interactive",
        # Else a job is gone when the broker restarts.
        persist=True,
        message_id=job_id,
        correlation_id=job_id,
        timeout=PATIENCE,
    )
    return await answer.decode()


async def main():
    provider, query = sys.argv[1], json.loads(sys.argv[2])
    async with RabbitBroker(AMQP_URL) as broker:
        try:
            result = await ask(broker, provider, query)
        except TimeoutError:
            sys.exit(f"no answer within {PATIENCE} s; does a worker run?")
    print(json.dumps(result))


if __name__ == "__main__":
    asyncio.run(main())
