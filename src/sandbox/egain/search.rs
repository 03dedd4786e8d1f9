//! The query: what is asked for, by what order, and which part of what was found is wanted.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::{
    PATH, Problem,
    customers::{self, CUSTOMERS, Customer},
};
use crate::sandbox::{
    magic::is_load_number,
    tokens::Desk,
    wire::{Ask, Reply},
};

const TEXTS: [&str; 10] = [
    "phone",
    "email",
    "facebookId",
    "twitterId",
    "instagramId",
    "appleOpaqueId",
    "youTubeId",
    "customerName",
    "department",
    "type",
];
const OTHERS: [&str; 3] = ["custom", "activity", "created"];
const CONTROLS: [&str; 7] = [
    "$attribute",
    "$sort",
    "$order",
    "$pagenum",
    "$pagesize",
    "$rangestart",
    "$rangesize",
];
const ATTRIBUTES: [&str; 11] = [
    "all",
    "role",
    "pin",
    "industry",
    "marketSegment",
    "entitlements",
    "level",
    "preferredAgent",
    "howReferred",
    "created",
    "createdBy",
];

/// A search whose every part was found to be right.
pub(super) struct Search {
    criteria: Vec<Criterion>,
    attributes: Vec<String>,
    sort: Option<String>,
    descending: bool,
    part: Part,
}

enum Criterion {
    /// Parameter and value.
    Text(String, String),
    /// Object, name and value of each.
    Custom(Vec<[String; 3]>),
    /// The activity, whose type alone is compared.
    Activity(Map<String, Value>),
    Created(Range),
}

struct Range(Option<Timestamp>, Option<Timestamp>);

enum Part {
    Page { number: usize, size: usize },
    Range { start: usize, size: usize },
}

impl Search {
    pub fn read(ask: &Ask) -> Result<Self, Problem> {
        for (name, value) in ask.parameters() {
            let name = name.as_str();
            if !(TEXTS.contains(&name) || OTHERS.contains(&name) || CONTROLS.contains(&name)) {
                return Err(Problem::bad(name, "no such parameter"));
            }
            if value.is_empty() {
                return Err(Problem::bad(name, "a value is required"));
            }
        }
        let parameters = ask
            .parameters()
            .iter()
            .filter(|(name, _)| !name.starts_with('$'));
        let criteria = parameters
            .map(|(name, value)| Criterion::read(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        if criteria
            .iter()
            .all(|criterion| matches!(criterion, Criterion::Text(name, _) if name == "type"))
        {
            return Err(Problem::bad(
                "query",
                "at least one criterion is required, besides type",
            ));
        }
        let (sort, descending) = order(ask)?;
        Ok(Self {
            criteria,
            attributes: attributes(ask)?,
            sort,
            descending,
            part: Part::read(ask)?,
        })
    }

    pub fn answer(&self, ask: &Ask, desk: &mut Desk) -> Reply {
        for criterion in &self.criteria {
            if let Criterion::Text(_, value) = criterion {
                desk.asked_for(value);
            }
        }
        let found = self.found();
        let total = found.len();
        let shown: Vec<Value> = match self.part {
            Part::Page { number, size } => found
                .into_iter()
                .skip((number - 1).saturating_mul(size))
                .take(size)
                .collect(),
            Part::Range { start, size } => found.into_iter().skip(start - 1).take(size).collect(),
        };
        if shown.is_empty() {
            return Reply::empty(204);
        }
        let links = [json!({ "rel": "self", "href": ask.target })];
        Reply::json(
            200,
            &json!({ "link": links, "customer": shown, "paginationInfo": self.part.info(ask, total) }),
        )
    }

    fn found(&self) -> Vec<Value> {
        let fits = |customer: &&Customer| {
            self.criteria
                .iter()
                .all(|criterion| criterion.fits(customer))
        };
        let mut found: Vec<&Customer> = CUSTOMERS.iter().filter(fits).collect();
        match self.sort.as_deref() {
            Some("type") => found.sort_by_key(|customer| customer.kind),
            Some("customerName") => found.sort_by_key(|customer| customer.name),
            _ => found.sort_by_key(|customer| customer.id),
        }
        if self.descending {
            found.reverse();
        }
        match self.criteria.as_slice() {
            [Criterion::Text(_, number)] if found.is_empty() && is_load_number(number) => {
                vec![customers::load(number)]
            }
            _ => found
                .into_iter()
                .map(|customer| customer.json(&self.attributes))
                .collect(),
        }
    }
}

impl Criterion {
    fn read(name: &str, value: &str) -> Result<Self, Problem> {
        let wrong = |expected: &str| Problem::bad(name, expected);
        match name {
            "custom" => custom(value)
                .map(Self::Custom)
                .ok_or_else(|| wrong("expected [{object,name,value}]")),
            "activity" => activity(value)
                .map(Self::Activity)
                .ok_or_else(|| wrong("expected an object")),
            "created" => Range::read(value)
                .map(Self::Created)
                .ok_or_else(|| wrong("expected [start,end]")),
            "type" if !["individual", "corporate", "group"].contains(&value) => {
                Err(wrong("no such type"))
            }
            _ => Ok(Self::Text(name.to_owned(), value.to_owned())),
        }
    }

    fn fits(&self, customer: &Customer) -> bool {
        match self {
            Self::Text(name, value) => match name.as_str() {
                "phone" => customer.has_phone(value),
                "email" => customer.has_email(value),
                "customerName" => customer.name.to_lowercase().contains(&value.to_lowercase()),
                "department" => customer.department == value,
                "type" => customer.kind == value,
                network => customer.networks.contains(&(network, value)),
            },
            Self::Custom(all) => all
                .iter()
                .all(|[object, name, value]| customer.custom.contains(&(object, name, value))),
            Self::Activity(activity) => {
                let kind = activity.get("type").and_then(Value::as_str);
                customer
                    .activities
                    .iter()
                    .any(|known| kind.is_none_or(|kind| kind == *known))
            }
            Self::Created(range) => customer
                .created
                .parse()
                .is_ok_and(|created| range.holds(created)),
        }
    }
}

fn custom(text: &str) -> Option<Vec<[String; 3]>> {
    let items: Vec<Value> = serde_json::from_str(text).ok()?;
    let read = |item: &Value| {
        let field = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
        let object =
            field("object").filter(|object| object == "customer" || object == "contactPerson")?;
        Some([object, field("name")?, field("value")?])
    };
    items
        .iter()
        .map(read)
        .collect::<Option<Vec<_>>>()
        .filter(|items| !items.is_empty())
}

/// An object; its `sentDate` must be a range.
fn activity(text: &str) -> Option<Map<String, Value>> {
    let Ok(Value::Object(activity)) = serde_json::from_str(text) else {
        return None;
    };
    if let Some(sent) = activity.get("sentDate") {
        Range::read(sent.as_str()?)?;
    }
    Some(activity).filter(|activity| !activity.is_empty())
}

impl Range {
    /// `[start,end]`, `[start,]` or `[,end]`, in UTC.
    fn read(text: &str) -> Option<Self> {
        let (start, end) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
        let side = |text: &str| match text.trim() {
            "" => Some(None),
            time => time.parse().ok().map(Some),
        };
        let range = Self(side(start)?, side(end)?);
        (range.0.is_some() || range.1.is_some()).then_some(range)
    }

    fn holds(&self, time: Timestamp) -> bool {
        self.0.is_none_or(|start| start <= time) && self.1.is_none_or(|end| time <= end)
    }
}

fn order(ask: &Ask) -> Result<(Option<String>, bool), Problem> {
    let sort = ask.parameter("$sort").map(str::to_owned);
    if let Some(sort) = &sort
        && !(["id", "type", "customerName"].contains(&sort.as_str()) || sort.starts_with("custom."))
    {
        return Err(Problem::bad("$sort", "no such attribute"));
    }
    match ask.parameter("$order") {
        None | Some("asc") if sort.is_some() || ask.parameter("$order").is_none() => {
            Ok((sort, false))
        }
        Some("desc") if sort.is_some() => Ok((sort, true)),
        Some("asc" | "desc") => Err(Problem::bad("$order", "$sort is required")),
        _ => Err(Problem::bad("$order", "expected asc or desc")),
    }
}

/// Repeated, or joined by commas.
fn attributes(ask: &Ask) -> Result<Vec<String>, Problem> {
    let given = ask
        .parameters()
        .iter()
        .filter(|(name, _)| name == "$attribute");
    let names: Vec<String> = given
        .flat_map(|(_, names)| names.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    match names
        .iter()
        .find(|name| !ATTRIBUTES.contains(&name.as_str()) && !name.starts_with("custom."))
    {
        Some(unknown) => Err(Problem::bad(
            "$attribute",
            format!("no such attribute: {unknown}"),
        )),
        None => Ok(names),
    }
}

impl Part {
    fn read(ask: &Ask) -> Result<Self, Problem> {
        let number = |name: &str, default| match ask.parameter(name).map(str::parse) {
            None => Ok(default),
            Some(Ok(number)) if number > 0 => Ok(number),
            Some(_) => Err(Problem::bad(name, "expected a number of at least 1")),
        };
        let given = |names: [&str; 2]| names.iter().any(|name| ask.parameter(name).is_some());
        match (
            given(["$pagenum", "$pagesize"]),
            given(["$rangestart", "$rangesize"]),
        ) {
            (true, true) => Err(Problem::bad("$pagenum", "page and range must not be mixed")),
            (_, false) => Ok(Self::Page {
                number: number("$pagenum", 1)?,
                size: number("$pagesize", 25)?,
            }),
            (_, true) => Ok(Self::Range {
                start: number("$rangestart", 1)?,
                size: number("$rangesize", 25)?,
            }),
        }
    }

    /// The count is told for pages alone.
    fn info(&self, ask: &Ask, total: usize) -> Value {
        match *self {
            Self::Range { start, size } => json!({ "rangestart": start, "rangesize": size }),
            Self::Page { number, size } => {
                let mut links = Vec::new();
                if number > 1 {
                    links.push(json!({ "rel": "prev", "href": page(ask, number - 1) }));
                }
                if number.saturating_mul(size) < total {
                    links.push(json!({ "rel": "next", "href": page(ask, number + 1) }));
                }
                json!({ "count": total, "pagenum": number, "pagesize": size, "link": links })
            }
        }
    }
}

fn page(ask: &Ask, number: usize) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(
        ask.parameters()
            .iter()
            .filter(|(name, _)| name != "$pagenum"),
    );
    query.append_pair("$pagenum", &number.to_string());
    format!("{PATH}?{}", query.finish())
}
