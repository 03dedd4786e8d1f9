// Reads an AsyncAPI document as its tools do: asyncapi.mjs FILE. What they find goes to standard output; an error ends
// it with 1.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

// That there is a newer version than 3.0 is none of its faults.
const ACCEPTED = new Set(['asyncapi-latest-version']);

const file = process.argv[2];
const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'));
const findings = diagnostics.filter(({ code }) => !ACCEPTED.has(code));
for (const { path, message } of findings) {
  console.log(`${file}: ${path.join('.')}: ${message}`);
}
if (!document || findings.length > 0) {
  process.exit(1);
}
const count = (all) => [...all].length;
console.log(`${file}: ${count(document.channels())} channels, ${count(document.operations())} operations`);
