//! `[lookups.NAME]`: several providers asked in one job (contract §11).

mod check; // each mistake that can be made there

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use config::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::template::Template;
use crate::{
    config::{Mistakes, is_name, read_all, value},
    policy::lookup::Mode,
    provider::settings::ProviderSettings,
};
use check::Check;

/// One configured lookup.
#[derive(Debug, Clone)]
pub struct LookupSettings {
    /// NAME, as it stands in routing keys.
    pub name: String,
    /// In which order the steps are asked, and what counts.
    pub mode: Mode,
    /// What a job's query may hold.
    pub criteria: Vec<String>,
    /// That of an interactive job which brings none.
    pub deadline: Option<Duration>,
    /// In a race, how long the first that found waits for those before it in the order.
    pub prefer_for: Duration,
    /// What two customers share that are put together.
    pub by: Vec<By>,
    /// Whom to ask, in this order.
    pub steps: Vec<StepSettings>,
}

/// One step.
#[derive(Debug, Clone)]
pub struct StepSettings {
    /// The provider's name.
    pub provider: String,
    /// Its job's query.
    pub query: Template,
    /// Its job's options.
    pub options: Template,
    /// What a customer who counts has.
    pub wanted: Vec<Field>,
    /// In a chain, how many customers of the step before are asked for.
    pub fan_out: usize,
}

/// What two customers may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A telephone number, also a contact's; digits are compared.
    Phones,
    /// An email address, also a contact's.
    Emails,
    /// The id.
    CustomerId,
}

/// A field of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the result")]
pub enum Field {
    CustomerId,
    AccountId,
    Name,
    Type,
    Phones,
    Emails,
    Locations,
    Contacts,
    CreatedAt,
    ChangedAt,
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 10] = [
        Self::CustomerId,
        Self::AccountId,
        Self::Name,
        Self::Type,
        Self::Phones,
        Self::Emails,
        Self::Locations,
        Self::Contacts,
        Self::CreatedAt,
        Self::ChangedAt,
    ];

    /// Its name in the result.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CustomerId => "customer_id",
            Self::AccountId => "account_id",
            Self::Name => "name",
            Self::Type => "type",
            Self::Phones => "phones",
            Self::Emails => "emails",
            Self::Locations => "locations",
            Self::Contacts => "contacts",
            Self::CreatedAt => "created_at",
            Self::ChangedAt => "changed_at",
        }
    }
}

/// The table of a lookup, as it stands in the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LookupSettings")]
#[serde(deny_unknown_fields)]
pub(crate) struct LookupKeys {
    /// `first`: in order, until one finds. `race`: all at once; the first that finds wins. `merge`: all; customers are
    /// put together. `chain`: in order; each is asked by what the one before found.
    #[serde(deserialize_with = "value::word")]
    mode: Mode,
    /// What a job's query may hold; each step takes from it.
    #[serde(deserialize_with = "value::strings")]
    #[schemars(length(min = 1))]
    criteria: Vec<String>,
    /// That of an interactive job which brings none.
    #[serde(default, deserialize_with = "value::positive_duration_option")]
    deadline: Option<Duration>,
    /// Mode `race`: of those that find within this time of the first, the earliest in the order wins.
    #[serde(default, deserialize_with = "value::duration_option")]
    prefer_for: Option<Duration>,
    /// Mode `merge`: customers are put together that share one of these.
    #[serde(default, deserialize_with = "value::words_option")]
    by: Option<Vec<By>>,
    /// Mode `chain`: so many customers of the step before are asked for, one by one.
    #[serde(default, deserialize_with = "value::positive_option")]
    #[schemars(range(min = 1))]
    fan_out: Option<u32>,
    /// Whom to ask, in this order.
    #[schemars(length(min = 1))]
    steps: Vec<StepKeys>,
}

/// The table of a step, as it stands in the file.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LookupStep")]
#[serde(deny_unknown_fields)]
struct StepKeys {
    /// The provider's name.
    provider: String,
    /// The query of its job: `{query.NAME}` is a criterion of the lookup's job; in a chain `{customer.PATH}` is a value
    /// of the customer that the step before found.
    query: Map<String, Json>,
    /// The options of its job.
    #[serde(default)]
    options: Map<String, Json>,
    /// Modes `first` and `race`: a customer without one of these counts as not found, unless nobody has it.
    #[serde(default, deserialize_with = "value::words")]
    wanted: Vec<Field>,
    /// Mode `chain`: in place of the lookup's own.
    #[serde(default, deserialize_with = "value::positive_option")]
    #[schemars(range(min = 1))]
    fan_out: Option<u32>,
}

/// The other names of the configuration.
pub(crate) struct Known<'a> {
    /// The providers that are sound.
    pub providers: &'a BTreeMap<String, ProviderSettings>,
    /// Those whose tables stand there, sound or not.
    pub named: BTreeSet<String>,
}

/// All lookups.
pub(crate) fn lookups(
    value: Option<Value>,
    known: &Known,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, LookupSettings> {
    let Some(value) = value else {
        return BTreeMap::new();
    };
    let Ok(table) = value.into_table() else {
        mistakes.add("lookups", "expected one table for each lookup");
        return BTreeMap::new();
    };
    let table: BTreeMap<String, Value> = table.into_iter().collect();
    let names: BTreeSet<String> = table.keys().cloned().collect();
    let mut read = |(name, value): (String, Value)| {
        let path = format!("lookups.{name}");
        if !is_name(&name) {
            let expected = "a lookup's name stands in routing keys; expected 1 to 64 letters, digits, '_' or '-'";
            mistakes.add(&path, expected);
            return None;
        }
        if known.named.contains(&name) {
            mistakes.add(
                &path,
                "is a provider's name too; expected one that no provider has",
            );
            return None;
        }
        let keys = read_all::<LookupKeys>(&path, value, mistakes).0?;
        let mut check = Check {
            path,
            known,
            lookups: &names,
            mistakes,
        };
        let settings = check.lookup(&name, keys);
        Some((name, settings))
    };
    table.into_iter().filter_map(&mut read).collect()
}
