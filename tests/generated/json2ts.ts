// Jobs by json-schema-to-typescript's types: `node json2ts.js jobs`, `node json2ts.js results < RESULTS`.
import type { AntsomiJob, EgainJob, KaptureJob, LookupJob, OmedaJob, PlumeJob } from './job';
import type { LookupResult } from './result';

declare const process: { argv: string[] };
declare function require(name: string): { readFileSync(file: number, encoding: string): string };

const antsomi: AntsomiJob = { id: 'json2ts-antsomi', provider: 'antsomi', query: { phone: '+84 907 089 782', email: null } };
const omeda: OmedaJob = { id: 'json2ts-omeda', provider: 'omeda', query: { customer_id: 12345 } };
const kapture: KaptureJob = { id: 'json2ts-kapture', provider: 'kapture', query: { customer_id: '191121684' } };
const egain: EgainJob = {
  id: 'json2ts-egain',
  provider: 'egain',
  query: { phone: '14082343456102' },
  options: { sort: 'id', order: 'asc', language: 'en-US' },
};
const plume: PlumeJob = { id: 'json2ts-plume', provider: 'plume', query: { account_id: 'acc-1001' }, lane: 'bulk' };
const jobs: LookupJob[] = [antsomi, omeda, kapture, egain, plume];

if (process.argv[2] === 'jobs') {
  for (const job of jobs) console.log(JSON.stringify(job));
} else {
  for (const line of require('node:fs').readFileSync(0, 'utf8').trim().split('\n')) {
    const { job_id, status, customers }: LookupResult = JSON.parse(line);
    console.log(job_id, status, customers![0].customer_id);
  }
}
