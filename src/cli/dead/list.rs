//! `dead list`: how many, by provider and error.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::{clean, letter::Letter};
use crate::{
    cli::{Failed, print_line},
    dead_letter::{AsksFor, replay},
    failure::ErrorKind,
};

/// Letters, counted.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<(Option<String>, String), Group>);

#[derive(Default)]
struct Group {
    count: u64,
    answered: bool,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

impl Groups {
    pub fn add(&mut self, letter: &Letter) {
        let group = self
            .0
            .entry((letter.provider.clone(), letter.error.clone()))
            .or_default();
        group.count += 1;
        group.answered = letter.asks_for() == AsksFor::Nobody;
        group.oldest = group.oldest.into_iter().chain(letter.died).min();
        group.newest = group.newest.into_iter().chain(letter.died).max();
    }

    /// Prints them; `none` where there are none.
    pub fn print(&self, as_json: bool, none: &str) -> Result<(), Failed> {
        if as_json {
            for ((provider, error), group) in &self.0 {
                let (oldest, newest) = (group.oldest, group.newest);
                let line = json!({
                    "provider": provider, "error": error, "count": group.count, "answered": group.answered,
                    "oldest": oldest, "newest": newest,
                });
                print_line(line.to_string().as_bytes())?;
            }
            return Ok(());
        }
        if self.0.is_empty() {
            return Ok(print_line(none.as_bytes())?);
        }
        let row = |[provider, error, count, asks_for, oldest, newest]: [&str; 6]| {
            let text = format!(
                "{provider:<24} {error:<22} {count:>8}  {asks_for:<9} {oldest:<20}  {newest}"
            );
            print_line(text.trim_end().as_bytes())
        };
        row(["PROVIDER", "ERROR", "COUNT", "ASKS FOR", "OLDEST", "NEWEST"])?;
        let time =
            |time: Option<Timestamp>| time.map_or_else(|| "-".into(), |time| format!("{time:.0}"));
        for ((provider, error), group) in &self.0 {
            let provider = provider.as_deref().unwrap_or("(none)");
            let count = group.count.to_string();
            // Whoever sent it was told, and nobody else need do anything.
            let asks_for = if group.answered { "nobody" } else { "a person" };
            let (oldest, newest) = (time(group.oldest), time(group.newest));
            row([provider, &clean(error), &count, asks_for, &oldest, &newest])?;
        }
        for (provider, errors) in self.refused() {
            let replay = replay(provider, errors);
            print_line(format!("once the credentials are mended: {replay}").as_bytes())?;
        }
        Ok(())
    }

    /// The errors by which a provider's credentials were refused.
    fn refused(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut refused = BTreeMap::<_, Vec<_>>::new();
        for (provider, error) in self.0.keys() {
            if let Some(provider) = provider
                && ErrorKind::is_of_credentials(error)
            {
                refused
                    .entry(provider.as_str())
                    .or_default()
                    .push(error.as_str());
            }
        }
        refused
    }
}
