#!/usr/bin/env node
// A bulk sync whose results outlast it: they come to a durable queue of its own.
//
//   sync.js publish PROVIDER < queries.jsonl
//   sync.js results COUNT
//
// Each may be ended at any moment and started again: jobs and results lie in the broker meanwhile, in an outage of the
// provider, of the workers or of this program too. Prints results as JSON lines, each once in a run. AMQP_URL is the
// broker, LOOKUP_PREFIX the worker's amqp.prefix, REPLIES the queue's name.
'use strict';

const { createHash } = require('node:crypto');
const { createInterface } = require('node:readline');
const amqp = require('amqplib');

const AMQP_URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f';
const PREFIX = process.env.LOOKUP_PREFIX ?? 'lookup';
const REPLIES = process.env.REPLIES ?? 'crm-sync.results';
const PATIENCE_MS = 60_000; // without any result

// Jobs with ids made of what they ask: published again after a crash, they have the same.
async function publish(channel, provider, lines) {
  for await (const line of lines) {
    const query = line.trim();
    const properties = {
      contentType: 'application/json',
      persistent: true,
      messageId: createHash('sha256').update(`${provider} ${query}`).digest('hex').slice(0, 32),
      replyTo: REPLIES,
      // A job that reaches no queue comes back by the event `return`. From the jobs exchange none does: that one keeps
      // what has no route, and a provider that nobody has is answered `unknown_provider`.
      mandatory: true,
    };
    const job = Buffer.from(JSON.stringify({ query: JSON.parse(query) }));
    channel.publish(`${PREFIX}.jobs`, `${provider}.bulk`, job, properties);
  }
  await channel.waitForConfirms();
}

// The next results; one that comes again, after a crash somewhere, has the same message_id. So has the answer to a job
// that failed and was sent back by `dead replay`: it is taken all the same.
async function takeResults(channel, count) {
  const seen = new Map();
  await channel.prefetch(100);
  await new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no result within ${PATIENCE_MS / 1000} s; does a worker run?`));
    let timer = setTimeout(late, PATIENCE_MS);
    const take = (message) => {
      if (!message || seen.size === count) return; // goes back with the channel
      const id = message.properties.messageId;
      const result = JSON.parse(message.content);
      if ((seen.get(id) ?? 'failed') === 'failed') {
        console.log(JSON.stringify(result));
        seen.set(id, result.status);
      }
      // Only now: what is not acknowledged comes again.
      channel.ack(message);
      clearTimeout(timer);
      if (seen.size === count) resolve();
      else timer = setTimeout(late, PATIENCE_MS);
    };
    channel.consume(REPLIES, take).catch(reject);
  });
}

async function main() {
  const [command, argument] = process.argv.slice(2);
  const connection = await amqp.connect(AMQP_URL);
  try {
    const channel = await connection.createConfirmChannel();
    // The broker closes the channel where the exchange is not there yet: the first worker declares it.
    channel.on('error', (error) => console.error(error.message));
    channel.on('return', (message) => console.error(`no queue took job ${message.properties.messageId}`));
    // Before the first job: a result whose queue is not there becomes a dead letter.
    await channel.assertQueue(REPLIES, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
    if (command === 'results') await takeResults(channel, Number(argument));
    else await publish(channel, argument, createInterface({ input: process.stdin }));
    await channel.close();
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
