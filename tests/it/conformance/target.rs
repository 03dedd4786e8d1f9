//! Adapters to test, made as the worker makes them: from a configuration file.

use std::{
    fmt::Write,
    fs,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use lookup_worker::{config, provider::Adapter};
use serde_json::{Map, Value, json};

pub const KINDS: [&str; 5] = ["antsomi", "omeda", "kapture", "egain", "plume"];

/// The contract's example of a provider's table.
fn example(kind: &str) -> Map<String, Value> {
    let example = match kind {
        "antsomi" => json!({ "base_url": "https://api.ants.tech", "token": "t" }),
        "omeda" => json!({ "base_url": "https://ows.omeda.com", "brand": "FOO", "app_id": "t" }),
        "kapture" => json!({ "base_url": "https://example.kapturecrm.com", "token": "t" }),
        "egain" => json!({ "base_url": "https://example.egain.cloud", "token": "t" }),
        _ => json!({ "base_url": "https://example.plume.com", "token": "t" }),
    };
    example.as_object().unwrap().clone()
}

/// A query that the kind takes.
pub fn query(kind: &str) -> Value {
    match kind {
        "omeda" => json!({ "customer_id": 12345 }),
        "plume" => json!({ "account_id": "A-1" }),
        _ => json!({ "phone": "+84 907 089 782" }),
    }
}

/// The kind's adapter, with `settings` over the example.
pub fn adapter(kind: &str, settings: &Map<String, Value>) -> Result<Adapter, String> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let mut table = example(kind);
    table.extend(settings.clone());
    let mut text = format!("[providers.it]\nkind = \"{kind}\"\n");
    for (key, value) in &table {
        let _ = writeln!(text, "{key} = {value}");
    }
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!(
        "lookup-worker-{}-{number}.toml",
        std::process::id()
    ));
    fs::write(&path, text).unwrap();
    let loaded = config::load(Some(&path));
    fs::remove_file(&path).unwrap();
    loaded
        .map(|mut settings| settings.providers.remove("it").unwrap().adapter)
        .map_err(|error| error.to_string())
}

/// The kind's adapter by the example alone.
pub fn plain(kind: &str) -> Adapter {
    static PLAIN: LazyLock<Vec<Adapter>> = LazyLock::new(|| {
        KINDS
            .map(|kind| adapter(kind, &Map::new()).unwrap())
            .to_vec()
    });
    PLAIN
        .iter()
        .find(|adapter| adapter.kind() == kind)
        .unwrap()
        .clone()
}
