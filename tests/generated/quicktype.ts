// Jobs by quicktype's interfaces and converters: `node quicktype.js jobs`, `node quicktype.js results < RESULTS`.
import { Convert, LookupJob, Query } from './job';
import { Convert as Results } from './result';

declare const process: { argv: string[] };
declare function require(name: string): { readFileSync(file: number, encoding: string): string };

const QUERIES: Record<string, Query> = {
  antsomi: { phone: '+84 907 089 782' },
  omeda: { customer_id: 12345 },
  kapture: { customer_id: '191121684' },
  egain: { phone: '14082343456102' },
  plume: { account_id: 'acc-1001' },
};

if (process.argv[2] === 'jobs') {
  for (const [provider, query] of Object.entries(QUERIES)) {
    const job: LookupJob = { id: `quicktype-typescript-${provider}`, provider, query, lane: 'bulk', options: null };
    console.log(JSON.stringify(JSON.parse(Convert.lookupJobToJson(job))));
  }
} else {
  for (const line of require('node:fs').readFileSync(0, 'utf8').trim().split('\n')) {
    const { job_id, status, customers } = Results.toLookupResult(line);
    console.log(job_id, status, customers![0].customer_id);
  }
}
