//! What stands below each command's `--help`. `dead` and `sandbox` have theirs beside their flags.

pub(super) const PROGRAM: &str = "\
Examples:
  lookup-worker sandbox --print-config > lookup-worker.toml   a configuration to begin with
  lookup-worker check --config lookup-worker.toml             is all well?
  lookup-worker run --config lookup-worker.toml               work
  lookup-worker lookup antsomi --query '{\"phone\":\"+84 907 089 782\"}' --config lookup-worker.toml

Exit codes: 0 done, 1 failed, 2 a mistake in the command line, the configuration or the job.";

pub(super) const RUN: &str = "\
Examples:
  lookup-worker run --config lookup-worker.toml
  LOOKUP__LOG__FORMAT=json LOOKUP__HTTP__LISTEN=0.0.0.0:9464 lookup-worker run --config lookup-worker.toml

Signals:
  SIGTERM, SIGINT  no new jobs; those in flight are finished within worker.shutdown_grace
  SIGHUP           reads the configuration again: secrets, certificates and log.level count from then on, no job is
                   lost; of other changes the log says that they need a restart; a wrong one changes nothing

A broker that is down is waited for. Under systemd (Type=notify or notify-reload) it tells its state and feeds the
watchdog.

Exit codes: 0 stopped as told, 1 something else has its queues or its port, 2 a mistake in the configuration.";

pub(super) const CHECK: &str = "\
Examples:
  lookup-worker check --config lookup-worker.toml
  LOOKUP__AMQP__URL=amqp://worker@broker.example:5672/%2f lookup-worker check --config lookup-worker.toml

Each line is ok, a note (it works, but look at it) or FAIL, then what was looked at, what was found and, behind an
arrow, what to do. It declares nothing and asks for no customer; OAuth credentials are tried, at the token endpoint,
a fixed token is not.

Exit codes: 0 nothing fails, 1 something does, 2 a mistake in the command line or the configuration.";

pub(super) const HEALTH: &str = "\
Examples:
  lookup-worker health --config lookup-worker.toml            ready? for a container's health check
  lookup-worker health --live --config lookup-worker.toml     alive?

Exit codes: 0 it is, 1 it is not or nobody answers, 2 a mistake in the configuration.";

pub(super) const LOOKUP: &str = "\
Examples:
  lookup-worker lookup antsomi --query '{\"phone\":\"+84 907 089 782\"}' --config lookup-worker.toml
  lookup-worker lookup plume --query '{\"name\":\"Ada\"}' --options '{\"raw\":true}' --config lookup-worker.toml

Exit codes: 0 found or not found, 1 failed, 2 no job, or a mistake in the configuration.";

pub(super) const PIPE: &str = "\
Examples:
  lookup-worker pipe --config lookup-worker.toml < jobs.jsonl > results.jsonl
  echo '{\"id\":\"j-1\",\"provider\":\"omeda\",\"query\":{\"customer_id\":12345}}' | lookup-worker pipe --config lookup-worker.toml

A line that is no job is answered with status failed and ends nothing.";

pub(super) const SEND: &str = "\
Examples:
  lookup-worker send jobs.jsonl --config lookup-worker.toml > results.jsonl
  echo '{\"provider\":\"omeda\",\"lane\":\"interactive\",\"query\":{\"customer_id\":12345}}' | lookup-worker send --config lookup-worker.toml
  lookup-worker send --no-wait jobs.jsonl --config lookup-worker.toml    results go to PREFIX.results
  lookup-worker send --csv crm.csv --provider antsomi --map phone=Mobile --id-column Id --config lookup-worker.toml
  lookup-worker send --csv crm.csv --provider kapture --map email=Mail --map phone=Mobile --map phone=Phone --output out.jsonl

A table's results stand in FILE.results.csv, one for each row, whatever interrupts it: the same command goes on where
it was, by the job ids in that file. Until the end FILE.results.csv.unfinished lies beside it, and a reply queue
PREFIX.replies.TOKEN on the broker, which goes a week after its last use. A row that can be no job (no number, an id
that an earlier row has, too many fields) is answered with invalid_job. Blank rows are passed over.

Exit codes: 0 every job is answered, 1 not all, 2 a mistake in the command line, the configuration or the file.";

pub(super) const EXPLAIN: &str = "\
Examples:
  lookup-worker explain --id j-42 --config lookup-worker.toml
  lookup-worker explain --id j-42 --json --config lookup-worker.toml    one object a line, for scripts

A line for each place where the job is or was: queued in a worker, waiting for the quota and at which place, waiting in a
delay queue and until when, in flight, answered of late, a dead letter. Nothing of what it asks is shown. All workers of
the broker are asked; jobs that no worker was given yet cannot be looked through, since that would count a delivery of
each, so of them it is told how many there are.

Exit codes: 0 it is known where the job is, 1 nobody knows it or could be asked, 2 a mistake in the command line or the
configuration.";

pub(super) const PAUSE: &str = "\
Examples:
  lookup-worker pause plume --for 10m --config lookup-worker.toml
  lookup-worker pause plume --config lookup-worker.toml       until `lookup-worker resume plume`

Its jobs stay in their queues; what is in flight is finished. It holds for workers that start later, too.

Exit codes: 0 all workers were told, 1 they could not be, 2 no such provider, or a mistake in the configuration.";

pub(super) const RESUME: &str = "\
Examples:
  lookup-worker resume plume --config lookup-worker.toml

Ends a pause by hand and one that the provider asked for; where its circuit is open, a probe is sent at once. Jobs that
wait in a delay queue for it go on.

Exit codes: 0 all workers were told, 1 they could not be, 2 no such provider, or a mistake in the configuration.";

pub(super) const SCHEMA: &str = "\
Examples:
  lookup-worker schema job > job.schema.json
  lookup-worker schema job --config lookup-worker.toml > jobs-of-my-providers.schema.json
  lookup-worker schema asyncapi --prefix crm > asyncapi.json";

pub(super) const COMPLETIONS: &str = "\
Examples:
  lookup-worker completions bash > /usr/share/bash-completion/completions/lookup-worker
  lookup-worker completions zsh > /usr/share/zsh/vendor-completions/_lookup-worker
  lookup-worker completions fish > /usr/share/fish/vendor_completions.d/lookup-worker.fish";

pub(super) const MAN: &str = "\
Examples:
  lookup-worker man /usr/share/man/man1";
pub(super) const PROVIDER_TEST: &str = "\
Examples:
  lookup-worker provider test crm.toml
  lookup-worker provider test providers/*.toml

Exit codes: 0 all passed, 1 a test failed, 2 a mistake in a file.";

pub(super) const PROVIDER_TRY: &str = "\
Examples:
  lookup-worker provider try crm --query '{\"phone\":\"+1 408 555 0100\"}' --config lookup-worker.toml
  lookup-worker provider try crm --query '{\"phone\":\"+1 408 555 0100\"}' --save --config lookup-worker.toml

One request, which is not repeated and asks no permission of the quota. Secrets are masked; what the provider says of
the customer is shown.

Exit codes: 0 found or not found, 1 failed, 2 no job, or a mistake in the configuration.";

pub(super) const PROVIDER_NEW: &str = "\
Examples:
  lookup-worker provider new --from-curl 'curl -H \"Authorization: Bearer x\" https://crm.example.com/v3/contacts?phone=14085550100' > crm.toml
  lookup-worker provider new --from-openapi crm.yaml --operation searchContacts > crm.toml";
