//! A step's query and options as they stand in the configuration, with placeholders that the job and the step before
//! fill.

use serde_json::{Map, Value};

use crate::customer::{Contact, Customer, Email, Location, Phone};

/// JSON with placeholders in it.
#[derive(Debug, Clone)]
pub enum Template {
    /// As it stands.
    Literal(Value),
    /// A placeholder that is the whole value keeps its type.
    Placeholder(Placeholder),
    /// Text around placeholders.
    Text(Vec<Result<String, Placeholder>>),
    /// Each of them.
    List(Vec<Template>),
    /// Each member; one whose value is absent is left out.
    Table(Vec<(String, Template)>),
}

/// What is put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholder {
    /// A criterion of the job.
    Criterion(String),
    /// A part of the customer whom the step before found, as a JSON pointer.
    Customer(String),
}

/// What came of filling.
#[derive(Debug, Default)]
pub struct Filled {
    /// The value; none where all of it is absent.
    pub value: Option<Value>,
    /// Something was absent.
    pub lacks: bool,
    /// A placeholder was filled.
    pub has: bool,
}

impl Template {
    /// Reads the placeholders; a mistake names what was expected.
    ///
    /// # Errors
    /// Where a placeholder is none.
    pub fn read(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::text(text)?,
            Value::Array(values) => {
                Self::List(values.iter().map(Self::read).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let member =
                    |(key, value): (&String, &Value)| Ok((key.clone(), Self::read(value)?));
                Self::Table(members.iter().map(member).collect::<Result<_, String>>()?)
            }
            other => Self::Literal(other.clone()),
        })
    }

    fn text(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (placeholder, behind) = after.split_once('}').ok_or_else(|| {
                format!("got {text:?}, where a placeholder has no end; expected {{query.NAME}}")
            })?;
            if !before.is_empty() {
                pieces.push(Ok(before.to_owned()));
            }
            pieces.push(Err(Placeholder::read(placeholder)?));
            rest = behind;
        }
        if pieces.is_empty() {
            return Ok(Self::Literal(Value::String(text.to_owned())));
        }
        if !rest.is_empty() {
            pieces.push(Ok(rest.to_owned()));
        }
        Ok(match &*pieces {
            [Err(placeholder)] => Self::Placeholder(placeholder.clone()),
            _ => Self::Text(pieces),
        })
    }

    /// Every placeholder in it.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&Placeholder> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Placeholder(placeholder) => vec![placeholder],
            Self::Text(pieces) => pieces
                .iter()
                .filter_map(|piece| piece.as_ref().err())
                .collect(),
            Self::List(values) => values.iter().flat_map(Self::placeholders).collect(),
            Self::Table(members) => members
                .iter()
                .flat_map(|(_, value)| value.placeholders())
                .collect(),
        }
    }

    /// With this in each placeholder.
    #[must_use]
    pub fn sampled(&self, sample: &Value) -> Option<Value> {
        let (mut query, mut customer) = (Map::new(), Value::Null);
        for placeholder in self.placeholders() {
            match placeholder {
                Placeholder::Criterion(name) => _ = query.insert(name.clone(), sample.clone()),
                Placeholder::Customer(_) => customer = sampled_customer(sample),
            }
        }
        self.fill(&query, Some(&customer)).value
    }

    /// With what the job says, and the customer.
    #[must_use]
    pub fn fill(&self, query: &Map<String, Value>, customer: Option<&Value>) -> Filled {
        match self {
            Self::Literal(value) => Filled {
                value: Some(value.clone()),
                ..Filled::default()
            },
            Self::Placeholder(placeholder) => {
                let value = placeholder.value(query, customer);
                Filled {
                    lacks: value.is_none(),
                    has: value.is_some(),
                    value,
                }
            }
            Self::Text(pieces) => {
                let piece = |piece: &Result<String, Placeholder>| match piece {
                    Ok(text) => Some(text.clone()),
                    Err(placeholder) => match placeholder.value(query, customer)? {
                        Value::String(text) => Some(text),
                        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
                        _ => None,
                    },
                };
                let text: Option<String> = pieces.iter().map(piece).collect();
                Filled {
                    lacks: text.is_none(),
                    has: text.is_some(),
                    value: text.map(Value::String),
                }
            }
            Self::List(values) => {
                let filled: Vec<_> = values
                    .iter()
                    .map(|value| value.fill(query, customer))
                    .collect();
                Filled {
                    lacks: filled.iter().any(|one| one.lacks),
                    has: filled.iter().any(|one| one.has),
                    value: Some(Value::Array(
                        filled.into_iter().filter_map(|one| one.value).collect(),
                    )),
                }
            }
            Self::Table(members) => {
                let (mut table, mut all) = (Map::new(), Filled::default());
                for (key, value) in members {
                    let filled = value.fill(query, customer);
                    all.lacks |= filled.lacks;
                    all.has |= filled.has;
                    if let Some(value) = filled.value {
                        table.insert(key.clone(), value);
                    }
                }
                all.value = Some(Value::Object(table));
                all
            }
        }
    }
}

impl Placeholder {
    fn read(placeholder: &str) -> Result<Self, String> {
        if let Some(name) = placeholder
            .strip_prefix("query.")
            .filter(|name| !name.is_empty())
        {
            return Ok(Self::Criterion(name.to_owned()));
        }
        if let Some(path) = placeholder.strip_prefix("customer.") {
            let pointer = pointer(path);
            let leads = |pointer: &String| {
                whole_customer()
                    .pointer(pointer)
                    .is_some_and(|value| !value.is_object() && !value.is_array())
            };
            return pointer.filter(leads).map(Self::Customer).ok_or_else(|| {
                format!(
                    "got {{{placeholder}}}, which leads nowhere; expected a value of a customer, as {{customer.customer_id}} or \
                     {{customer.phones[0].number}}"
                )
            });
        }
        Err(format!(
            "got {{{placeholder}}}; expected {{query.NAME}}, or in a chain {{customer.PATH}}"
        ))
    }

    fn value(&self, query: &Map<String, Value>, customer: Option<&Value>) -> Option<Value> {
        let value = match self {
            Self::Criterion(name) => query.get(name),
            Self::Customer(pointer) => customer?.pointer(pointer),
        };
        value.filter(|value| !value.is_null()).cloned()
    }
}

/// `phones[0].number` as `/phones/0/number`.
fn pointer(path: &str) -> Option<String> {
    let mut pointer = String::new();
    for part in path.split('.') {
        let (name, indices) = part
            .split_once('[')
            .map_or((part, None), |(name, rest)| (name, Some(rest)));
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if !is_name {
            return None;
        }
        pointer.push('/');
        pointer.push_str(name);
        if let Some(index) = indices {
            let index: usize = index.strip_suffix(']')?.parse().ok()?;
            pointer.push('/');
            pointer.push_str(&index.to_string());
        }
    }
    // Every placeholder of a list is as its first.
    Some(pointer)
}

/// A customer all of whose texts are this one.
fn sampled_customer(sample: &Value) -> Value {
    let mut customer = whole_customer();
    let mut parts = vec![&mut customer];
    while let Some(part) = parts.pop() {
        match part {
            Value::String(_) => *part = sample.clone(),
            Value::Array(values) => parts.extend(values),
            Value::Object(members) => parts.extend(members.values_mut()),
            _ => {}
        }
    }
    customer
}

/// A customer with all that one may have, ten of each.
fn whole_customer() -> Value {
    let some = || Some("x".to_owned());
    let phone = Phone {
        number: "x".into(),
        extension: some(),
        kind: some(),
        kind_code: Some(1),
        primary: Some(true),
        changed_at: some(),
        id: some(),
    };
    let email = Email {
        address: "x".into(),
        primary: Some(true),
    };
    let contact = Contact {
        id: some(),
        name: some(),
        phones: vec![phone.clone(); 10],
        emails: vec![email.clone(); 10],
        primary: Some(true),
    };
    let customer = Customer {
        customer_id: "x".into(),
        account_id: some(),
        name: some(),
        kind: some(),
        phones: vec![phone; 10],
        emails: vec![email; 10],
        locations: vec![Location { id: "x".into() }; 10],
        contacts: vec![contact; 10],
        created_at: some(),
        changed_at: some(),
        ..Customer::default()
    };
    serde_json::to_value(customer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(template: Value, query: Value, customer: Value) -> Filled {
        let Value::Object(query) = query else {
            unreachable!()
        };
        Template::read(&template)
            .unwrap()
            .fill(&query, Some(&customer))
    }

    #[test]
    fn a_place_that_is_the_whole_value_keeps_its_type_and_one_that_is_absent_is_left_out() {
        let template =
            json!({"a": "{query.n}", "b": "n={query.n}", "c": "{query.gone}", "d": [1, "x"]});
        let filled = filled(template, json!({"n": 7, "gone": null}), json!({}));
        assert_eq!(
            filled.value,
            Some(json!({"a": 7, "b": "n=7", "d": [1, "x"]}))
        );
        assert!(filled.lacks && filled.has);
    }

    #[test]
    fn a_path_leads_to_a_value_of_a_customer() {
        let customer = json!({"customer_id": "c", "phones": [{"number": "1"}, {"number": "2"}]});
        let template = json!([
            "{customer.customer_id}",
            "{customer.phones[1].number}",
            "{customer.name}"
        ]);
        assert_eq!(
            filled(template, json!({}), customer).value,
            Some(json!(["c", "2"]))
        );
    }

    #[test]
    fn what_leads_nowhere_is_told() {
        for (text, told) in [
            ("{customer.fone}", "leads nowhere"),
            ("{customer.phones}", "leads nowhere"),
            ("{customer.phones[x].number}", "leads nowhere"),
            ("{customer.phones.number}", "leads nowhere"),
            ("{query.phone", "no end"),
            ("{phone}", "expected {query.NAME}"),
        ] {
            let problem = Template::read(&json!(text)).unwrap_err();
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
