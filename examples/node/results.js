#!/usr/bin/env node
// Publishes bulk jobs from JSON lines, then takes results off the results queue:
//
//   results.js PROVIDER COUNT < queries.jsonl
//
// Prints COUNT results as JSON lines. AMQP_URL is the broker, LOOKUP_PREFIX the worker's amqp.prefix.
'use strict';

const { randomUUID } = require('node:crypto');
const { createInterface } = require('node:readline');
const amqp = require('amqplib');

const AMQP_URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f';
const PREFIX = process.env.LOOKUP_PREFIX ?? 'lookup';
const PATIENCE_MS = 30_000; // without any result

// Jobs without a reply_to: their results go to PREFIX.results.
async function publish(channel, provider, lines) {
  for await (const line of lines) {
    const job = Buffer.from(JSON.stringify({ query: JSON.parse(line) }));
    const properties = { contentType: 'application/json', persistent: true, messageId: randomUUID() };
    channel.publish(`${PREFIX}.jobs`, `${provider}.bulk`, job, properties);
  }
  await channel.waitForConfirms();
}

// Each result once: after a crash somewhere one may come again, with the same message_id.
async function takeResults(channel, count, show) {
  const seen = new Set();
  await channel.prefetch(100);
  await new Promise((resolve, reject) => {
    const late = () => reject(new Error(`no result within ${PATIENCE_MS / 1000} s; does a worker run?`));
    let timer = setTimeout(late, PATIENCE_MS);
    const take = (message) => {
      if (!message || seen.size === count) return; // goes back with the channel
      const id = message.properties.messageId;
      if (!seen.has(id)) show(JSON.parse(message.content));
      seen.add(id);
      // Only now: what is not acknowledged comes again.
      channel.ack(message);
      clearTimeout(timer);
      if (seen.size === count) resolve();
      else timer = setTimeout(late, PATIENCE_MS);
    };
    channel.consume(`${PREFIX}.results`, take).catch(reject);
  });
}

async function main() {
  const [provider, count] = process.argv.slice(2);
  const connection = await amqp.connect(AMQP_URL);
  try {
    const channel = await connection.createConfirmChannel();
    await publish(channel, provider, createInterface({ input: process.stdin }));
    await takeResults(channel, Number(count), (result) => console.log(JSON.stringify(result)));
    await channel.close();
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
