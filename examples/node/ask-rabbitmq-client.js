#!/usr/bin/env node
// Asks for one customer with rabbitmq-client and waits for the answer:
//
//   ask-rabbitmq-client.js PROVIDER '{"phone": "+84 907 089 782"}'
//
// AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix. Exits 0 when there is an answer, 1 when none came.
'use strict';

const { randomUUID } = require('node:crypto');
const { Connection } = require('rabbitmq-client');

const AMQP_URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f';
const PREFIX = process.env.LOOKUP_PREFIX ?? 'lookup';
const PATIENCE_MS = 10_000; // the worker gives up at the job's deadline, a little earlier

// The answer comes by direct reply-to, which the RPC client sets up together with the correlation id.
async function ask(client, provider, query) {
  const deadline = new Date(Date.now() + PATIENCE_MS - 1000);
  const envelope = {
    exchange: `${PREFIX}.jobs`,
    routingKey: `${provider}.interactive`,
    // Else a job is gone when the broker restarts.
    durable: true,
    messageId: randomUUID(),
  };
  // An object: a string would go as text/plain.
  const answer = await client.send(envelope, { query, deadline: deadline.toISOString() });
  return answer.body;
}

async function main() {
  const [provider, query] = process.argv.slice(2);
  const connection = new Connection(AMQP_URL);
  // Without a listener an error of the connection ends the program.
  connection.on('error', (error) => console.error(error.message));
  const client = connection.createRPCClient({ confirm: true, timeout: PATIENCE_MS });
  try {
    console.log(JSON.stringify(await ask(client, provider, JSON.parse(query))));
  } finally {
    await client.close();
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error.code === 'RPC_TIMEOUT' ? 'no answer in time; does a worker run?' : error.message);
  process.exitCode = 1;
});
