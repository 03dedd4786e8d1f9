//! Adapters to test, made as the worker makes them: from a configuration file.

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use lookup_worker::{provider::Adapter, settings};
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
    let mut table = example(kind);
    table.extend(settings.clone());
    configured(kind, &table)
}

/// The adapter of kind `http` by the kind's descriptor among the examples, which is changed as `settings` ask: what a
/// compiled kind has in its configuration stands in the descriptor, or in the address.
pub fn described(kind: &str, settings: &Map<String, Value>) -> Result<Adapter, String> {
    let mut table = example(kind);
    table.extend(settings.clone());
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    let example = format!(
        "{}/examples/providers/{kind}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut descriptor = fs::read_to_string(example).unwrap();
    if text("phone_format") == Some("as_is") {
        descriptor = descriptor.replace("format = \"digits\"", "format = \"as_is\"");
    }
    if let Some(language) = text("language") {
        let default = format!("default = \"{language}\"");
        descriptor = descriptor.replace("default = \"en-US\"", &default);
    }
    let mut base_url = text("base_url").unwrap().to_owned();
    if let Some(brand) = text("brand") {
        let base = base_url.trim_end_matches('/');
        base_url = format!("{base}/webservices/rest/brand/{brand}");
    }
    let token = text("token").or(text("app_id"));
    let path = file(&descriptor);
    let table = json!({ "descriptor": path, "base_url": base_url, "token": token });
    let adapter = configured("http", table.as_object().unwrap());
    fs::remove_file(path).unwrap();
    adapter
}

/// A file of our own that holds this.
fn file(text: &str) -> PathBuf {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let name = format!("lookup-worker-{}-{number}.toml", std::process::id());
    let path = std::env::temp_dir().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn configured(kind: &str, table: &Map<String, Value>) -> Result<Adapter, String> {
    let mut text = format!("[providers.it]\nkind = \"{kind}\"\n");
    for (key, value) in table {
        let _ = writeln!(text, "{key} = {value}");
    }
    let path = file(&text);
    let loaded = settings::load(Some(&path));
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
