//! In what runs differ, and the worker's configuration for it.

use std::fmt::Write;

use crate::{
    broker::Vhost,
    jobs,
    provider::{Provider, TOKEN},
};

/// Who is asked, and by what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Antsomi, one number a request.
    Antsomi,
    /// Antsomi, as the only step of a lookup of several providers.
    AntsomiByLookup,
    /// Plume, by the kind that is compiled in.
    Plume,
    /// Plume, by its descriptor under `examples/providers`.
    PlumeByDescriptor,
}

/// A run's.
#[derive(Clone, Copy)]
pub struct Setup {
    /// How many are published.
    pub jobs: u32,
    /// Lookups in flight.
    pub concurrency: u16,
    /// Among which the jobs are shared.
    pub providers: u32,
    /// Processes.
    pub workers: u32,
    /// What each provider is.
    pub asked: Asked,
}

impl Setup {
    /// One worker and one provider.
    pub fn new(jobs: u32, concurrency: u16) -> Self {
        Self {
            jobs,
            concurrency,
            providers: 1,
            workers: 1,
            asked: Asked::Antsomi,
        }
    }

    /// Nothing is looked up twice or together, and no quota binds: one request for each job.
    pub fn config(&self, vhost: &Vhost<'_>, provider: &Provider) -> String {
        let (url, concurrency) = (vhost.url(), self.concurrency);
        let mut text = format!(
            "[amqp]\nurl = \"{url}\"\n\n[worker]\nconcurrency = {concurrency}\n\n[log]\nlevel = \"warn\"\n"
        );
        for n in 0..self.providers {
            let name = jobs::name(n);
            let provider = self.provider(&name, provider);
            text.push_str(&provider);
            if self.asked == Asked::AntsomiByLookup {
                let key = jobs::key(n, self.asked);
                let _ = write!(
                    text,
                    "\n[lookups.{key}]\nmode = \"first\"\ncriteria = [\"phone\"]\n\
                     [[lookups.{key}.steps]]\nprovider = \"{name}\"\nquery = {{ phone = \"{{query.phone}}\" }}\n"
                );
            }
        }
        text
    }

    fn provider(&self, name: &str, provider: &Provider) -> String {
        let base_url = provider.url();
        let kind = match self.asked {
            Asked::Antsomi | Asked::AntsomiByLookup => {
                "kind = \"antsomi\"\nbatch = { max_size = 1 }".to_owned()
            }
            Asked::Plume => "kind = \"plume\"".to_owned(),
            Asked::PlumeByDescriptor => format!(
                "kind = \"http\"\ndescriptor = \"{}/examples/providers/plume.toml\"",
                env!("CARGO_MANIFEST_DIR")
            ),
        };
        let trusted = provider
            .certificate()
            .map(|file| format!("ca_file = \"{}\"\n", file.display()))
            .unwrap_or_default();
        format!(
            "\n[providers.{name}]\n{kind}\nbase_url = \"{base_url}\"\ntoken = \"{TOKEN}\"\n{trusted}\
             quota = {{ requests = 1000000000, per = \"1m\", scope = \"worker\" }}\n"
        )
    }
}
