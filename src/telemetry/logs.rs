//! Logs, on standard error. They hold ids of jobs and never a token, a number, an address or a name.

use std::{io::IsTerminal, panic, sync::OnceLock};

use tracing_subscriber::{
    Registry, filter::Targets, fmt, layer::SubscriberExt, reload, reload::Handle,
    util::SubscriberInitExt,
};

use crate::config::{LogFormat, LogLevel, LogSettings};

/// Holds the level that is logged, once logging has begun.
static FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Begins to log. What other crates log is left out at every level: it shows addresses and frames, and so
/// what is private.
pub fn begin(settings: &LogSettings) {
    let (ours, filter) = reload::Layer::new(ours(settings.level));
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let registry = tracing_subscriber::registry().with(ours);
    // A second beginning, in tests, changes nothing.
    let begun = match settings.format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if begun.is_ok() {
        let _ = FILTER.set(filter);
    }
    // A panic's message may quote what is private; where it happened never does.
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a bug: something panicked");
    }));
}

/// Logs from now on what is at least this severe.
pub fn set_level(level: LogLevel) {
    if let Some(filter) = FILTER.get() {
        // It fails only where nothing is logged any more.
        let _ = filter.reload(ours(level));
    }
}

fn ours(least: LogLevel) -> Targets {
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), level(least))
}

fn level(level: LogLevel) -> tracing::level_filters::LevelFilter {
    use tracing::level_filters::LevelFilter;
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
