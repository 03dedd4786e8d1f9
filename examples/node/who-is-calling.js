#!/usr/bin/env node
// Who is calling? What a screen-pop shows of a lookup of several providers, three seconds after the phone rings:
//
//   who-is-calling.js '+84 907 089 782' [LOOKUP]
//
// LOOKUP is a [lookups.NAME] of the worker's, `caller` if none is given. AMQP_URL is the broker, LOOKUP_PREFIX the
// worker's amqp.prefix.
'use strict';

const { randomUUID } = require('node:crypto');
const amqp = require('amqplib');

const AMQP_URL = process.env.AMQP_URL ?? 'amqp://guest:guest@127.0.0.1:5672/%2f';
const PREFIX = process.env.LOOKUP_PREFIX ?? 'lookup';
const DEADLINE_MS = 3_000; // the answer is on its way a little earlier, with what is known by then
const REPLIES = 'amq.rabbitmq.reply-to';

// The result, or nothing if there is no worker.
async function ask(channel, lookup, phone) {
  const id = randomUUID();
  const answer = new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, DEADLINE_MS + 1000);
    const take = (message) => {
      if (message?.properties.correlationId !== id) return;
      clearTimeout(timer);
      resolve(JSON.parse(message.content));
    };
    channel.consume(REPLIES, take, { noAck: true }).catch(reject);
  });
  const job = { query: { phone }, deadline_ms: DEADLINE_MS };
  channel.publish(`${PREFIX}.jobs`, `${lookup}.interactive`, Buffer.from(JSON.stringify(job)), {
    contentType: 'application/json',
    persistent: true,
    messageId: id,
    correlationId: id,
    replyTo: REPLIES,
  });
  await channel.waitForConfirms();
  return answer;
}

// What whoever takes the call sees. Nobody is greeted as new unless every provider said that they do not know them.
function view(result) {
  if (!result) return 'it cannot be told who is calling: no answer';
  if (result.status === 'found') {
    const [first, ...more] = result.customers;
    const others = more.length ? `, and ${more.length} more with this number` : '';
    const rest = result.incomplete ? ' – not every system could be asked' : '';
    return `${first.name ?? first.customer_id} (${first.source})${others}${rest}`;
  }
  if (result.status === 'not_found') {
    const unasked = (result.steps ?? []).filter((step) => step.reason === 'no_value').map((step) => step.provider);
    if (!unasked.length) return 'a new caller: nobody knows the number';
    return `nobody who could be asked knows the number; ${unasked.join(', ')} had nothing to ask by`;
  }
  const silent = (result.steps ?? []).filter((step) => ['failed', 'skipped'].includes(step.status));
  const who = silent.map((step) => step.provider).join(', ') || result.error.message;
  return `it cannot be told who is calling: ${who} gave no answer`;
}

async function main() {
  const [phone, lookup = 'caller'] = process.argv.slice(2);
  const connection = await amqp.connect(AMQP_URL);
  try {
    const channel = await connection.createConfirmChannel();
    console.log(view(await ask(channel, lookup, phone)));
  } finally {
    await connection.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
