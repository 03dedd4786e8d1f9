//! The names that a job of any kind may hold: null for one of another kind is as absent.

use std::{collections::BTreeSet, sync::LazyLock};

use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{Adapter, Description};

/// The names that any kind has.
pub(super) struct Names {
    pub criteria: BTreeSet<String>,
    pub options: BTreeSet<String>,
}

impl Names {
    /// As the kinds' descriptions have them.
    pub fn all() -> &'static Self {
        static ALL: LazyLock<Names> = LazyLock::new(|| {
            let mut generator = SchemaSettings::draft2020_12()
                .with(|settings| settings.inline_subschemas = true)
                .into_generator();
            let kinds = Adapter::descriptions(&mut generator);
            let names = |part: fn(&Description) -> &Schema| {
                let members = kinds.iter().filter_map(|kind| part(kind).get("properties"));
                let members = members.filter_map(Value::as_object);
                members.flat_map(Map::keys).cloned().collect()
            };
            Names {
                criteria: names(|kind| &kind.query),
                options: names(|kind| &kind.options),
            }
        });
        &ALL
    }
}
