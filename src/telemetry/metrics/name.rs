//! What the metrics are called. The dashboard, the rules of alerts and the page know them by these names.

pub(in crate::telemetry) const BACKLOG_SECONDS: &str = "lookup_backlog_seconds";
pub(in crate::telemetry) const BATCHED_TOTAL: &str = "lookup_batched_total";
pub(in crate::telemetry) const BATCHES_SPLIT_TOTAL: &str = "lookup_batches_split_total";
pub(in crate::telemetry) const BROKER_CONNECTS_TOTAL: &str = "lookup_broker_connects_total";
pub(in crate::telemetry) const CACHE_HITS_TOTAL: &str = "lookup_cache_hits_total";
pub(in crate::telemetry) const CIRCUIT_HALF_OPEN: &str = "lookup_circuit_half_open";
pub(in crate::telemetry) const CIRCUIT_OPEN: &str = "lookup_circuit_open";
pub(in crate::telemetry) const COALESCED_TOTAL: &str = "lookup_coalesced_total";
pub(in crate::telemetry) const DEAD_LETTERED_TOTAL: &str = "lookup_dead_lettered_total";
pub(in crate::telemetry) const DEAD_LETTERS_ASKING_TOTAL: &str = "lookup_dead_letters_asking_total";
pub(in crate::telemetry) const DEAD_LETTERS: &str = "lookup_dead_letters";
pub(in crate::telemetry) const JOB_DURATION_SECONDS: &str = "lookup_job_duration_seconds";
pub(in crate::telemetry) const JOBS_IN_FLIGHT: &str = "lookup_jobs_in_flight";
pub(in crate::telemetry) const JOBS_PARKED: &str = "lookup_jobs_parked";
pub(in crate::telemetry) const JOBS_QUEUED: &str = "lookup_jobs_queued";
pub(in crate::telemetry) const JOBS_RECEIVED_TOTAL: &str = "lookup_jobs_received_total";
pub(in crate::telemetry) const JOBS_WAITING: &str = "lookup_jobs_waiting";
pub(in crate::telemetry) const PANICS_TOTAL: &str = "lookup_panics_total";
pub(in crate::telemetry) const PAUSED: &str = "lookup_paused";
pub(in crate::telemetry) const PROVIDER_REQUEST_DURATION_SECONDS: &str =
    "lookup_provider_request_duration_seconds";
pub(in crate::telemetry) const PROVIDER_REQUESTS_TOTAL: &str = "lookup_provider_requests_total";
pub(in crate::telemetry) const QUOTA_CALLS_WAIT: &str = "lookup_quota_calls_wait";
pub(in crate::telemetry) const QUOTA_LIMIT: &str = "lookup_quota_limit";
pub(in crate::telemetry) const QUOTA_PERMISSIONS_TOTAL: &str = "lookup_quota_permissions_total";
pub(in crate::telemetry) const QUOTA_USED: &str = "lookup_quota_used";
pub(in crate::telemetry) const QUOTA_VOID_TOTAL: &str = "lookup_quota_void_total";
pub(in crate::telemetry) const QUOTA_WAIT_SECONDS: &str = "lookup_quota_wait_seconds";
pub(in crate::telemetry) const QUOTA_PROVIDER_REMAINING: &str = "lookup_quota_provider_remaining";
pub(in crate::telemetry) const QUOTA_PROVIDER_HOLDS: &str = "lookup_quota_provider_holds";
pub(in crate::telemetry) const QUOTA_WAITING: &str = "lookup_quota_waiting";
pub(in crate::telemetry) const RESULTS_TOTAL: &str = "lookup_results_total";
pub(in crate::telemetry) const RETRIES_TOTAL: &str = "lookup_retries_total";
pub(in crate::telemetry) const STEP_RESULTS_TOTAL: &str = "lookup_step_results_total";
pub(in crate::telemetry) const SUSPECTS_TOTAL: &str = "lookup_suspects_total";
pub(in crate::telemetry) const UNSETTLED_BYTES: &str = "lookup_unsettled_bytes";
