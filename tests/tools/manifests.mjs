// Holds manifests of Kubernetes' extensions against their own schemas: manifests.mjs FILE…
import { readFileSync } from 'node:fs';
import * as keda from '@kubernetes-models/keda/keda.sh/v1alpha1/index';
import * as prometheus from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index';
import { parseAllDocuments } from 'yaml';

const KINDS = { 'keda.sh/v1alpha1': keda, 'monitoring.coreos.com/v1': prometheus };

let failed = false;
for (const file of process.argv.slice(2)) {
  for (const document of parseAllDocuments(readFileSync(file, 'utf8'))) {
    const manifest = document.toJS();
    try {
      const Kind = KINDS[manifest.apiVersion]?.[manifest.kind];
      if (!Kind) throw new Error('no schema is known for it');
      new Kind(manifest).validate();
      console.log(`${file}: ${manifest.kind} ${manifest.metadata.name}`);
    } catch (error) {
      failed = true;
      console.log(`${file}: ${manifest.apiVersion} ${manifest.kind}: ${error.message}`);
    }
  }
}
process.exit(failed ? 1 : 0);
