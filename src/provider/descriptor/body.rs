//! JSON with places for values. A text that is one placeholder alone keeps its value's type; a member whose value is
//! absent is left out.

use super::{
    mistakes::Mistakes,
    template::{Slots, Template, Values},
    value::{Rule, Value},
};

/// JSON to be filled.
#[derive(Debug)]
pub enum Json {
    /// Without placeholders, as it is written.
    Plain(String),
    Text(Template),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// From the descriptor's TOML at `key`.
    pub fn parse(
        key: &str,
        value: &toml::Value,
        slots: &Slots,
        rules: &[Rule],
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        match value {
            toml::Value::String(text) => {
                let template = mistakes.note(key, Template::parse(text, slots))?;
                if template.whole().is_none()
                    && let Some(name) = template.structured(rules)
                {
                    mistakes.add(
                        key,
                        format!(
                            "{name} is an array or an object; expected it alone, without other text"
                        ),
                    );
                    return None;
                }
                Some(Self::Text(template))
            }
            toml::Value::Array(items) => {
                let items = items.iter().enumerate().filter_map(|(number, item)| {
                    Self::parse(&format!("{key}[{number}]"), item, slots, rules, mistakes)
                });
                Some(Self::Array(items.collect()))
            }
            toml::Value::Table(members) => {
                let members = members.iter().filter_map(|(name, member)| {
                    let member =
                        Self::parse(&format!("{key}.{name}"), member, slots, rules, mistakes)?;
                    Some((serde_json::Value::from(name.as_str()).to_string(), member))
                });
                Some(Self::Object(members.collect()))
            }
            toml::Value::Datetime(_) => {
                mistakes.add(key, "JSON has no dates; expected a text in quotes");
                None
            }
            plain => mistakes
                .note(
                    key,
                    serde_json::to_string(plain).map_err(|error| error.to_string()),
                )
                .map(Self::Plain),
        }
    }

    /// Its texts with placeholders.
    pub fn templates<'a>(&'a self, templates: &mut Vec<&'a Template>) {
        match self {
            Self::Plain(_) => {}
            Self::Text(template) => templates.push(template),
            Self::Array(items) => items.iter().for_each(|item| item.templates(templates)),
            Self::Object(members) => {
                let members = members.iter();
                members.for_each(|(_, member)| member.templates(templates));
            }
        }
    }

    /// The slots that stand in it.
    pub fn slots(&self, slots: &mut Vec<usize>) {
        match self {
            Self::Plain(_) => {}
            Self::Text(template) => slots.extend(template.slots()),
            Self::Array(items) => items.iter().for_each(|item| item.slots(slots)),
            Self::Object(members) => members.iter().for_each(|(_, member)| member.slots(slots)),
        }
    }

    /// The JSON with its values; none where it is a text whose value is absent.
    pub fn write(&self, values: &Values) -> Option<String> {
        match self {
            Self::Plain(json) => Some(json.clone()),
            Self::Text(template) => match template.whole() {
                Some(slot) => values[slot].as_ref().map(Value::json),
                None => template
                    .fill(values, |value, text| text.push_str(value))
                    .map(|text| serde_json::Value::from(text).to_string()),
            },
            Self::Array(items) => {
                let items: Vec<String> =
                    items.iter().filter_map(|item| item.write(values)).collect();
                Some(format!("[{}]", items.join(",")))
            }
            Self::Object(members) => {
                let members: Vec<String> = members
                    .iter()
                    .filter_map(|(name, member)| Some(format!("{name}:{}", member.write(values)?)))
                    .collect();
                Some(format!("{{{}}}", members.join(",")))
            }
        }
    }
}
