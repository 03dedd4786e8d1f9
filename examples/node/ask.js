#!/usr/bin/env node
// Asks for one customer and waits for the answer:
//
//   ask.js PROVIDER '{"phone": "+84 907 089 782"}'
//
// AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix. Exits 0 when there is an answer, 1 when none came.
'use strict';

const { randomUUID } = require('node:crypto');
const amqp = require('amqplib');

const AMQP_URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f';
const PREFIX = process.env.LOOKUP_PREFIX ?? 'lookup';
const PATIENCE_MS = 10_000; // the worker gives up at the job's deadline, a little earlier

// Answers come by direct reply-to: no queue to declare, and fast; an answer is lost if this program is gone by then,
// which then goes to the dead letters. For answers that outlive it, declare a queue as the Python example does.
const REPLIES = 'amq.rabbitmq.reply-to';

async function ask(channel, provider, query) {
  const id = randomUUID();
  const answer = new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no answer within ${PATIENCE_MS / 1000} s; does a worker run?`));
    const timer = setTimeout(late, PATIENCE_MS);
    const take = (message) => {
      if (message?.properties.correlationId !== id) return;
      clearTimeout(timer);
      resolve(JSON.parse(message.content));
    };
    channel.consume(REPLIES, take, { noAck: true }).catch(reject);
  });
  const job = { query, deadline_ms: PATIENCE_MS - 1000 };
  channel.publish(`${PREFIX}.jobs`, `${provider}.interactive`, Buffer.from(JSON.stringify(job)), {
    contentType: 'application/json',
    persistent: true,
    messageId: id,
    correlationId: id,
    replyTo: REPLIES,
  });
  // The broker has the job.
  await channel.waitForConfirms();
  return answer;
}

async function main() {
  const [provider, query] = process.argv.slice(2);
  const connection = await amqp.connect(AMQP_URL);
  try {
    const channel = await connection.createConfirmChannel();
    console.log(JSON.stringify(await ask(channel, provider, JSON.parse(query))));
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
