//! What eGain answers, and wire to [`Customer`].

use jiff::{Timestamp, civil, tz::Offset};

use crate::{
    customer::{Contact, Customer, Email, Page, Phone},
    json::{Malformed, Node},
    outcome::Outcome,
    provider::date,
};

/// What a failure's body says.
pub fn words(body: Node) -> Option<String> {
    let members = body.members();
    let message = members
        .get("developerMessage")
        .or(members.get("userMessage"));
    let words = [members.get("code"), message].into_iter();
    let words: Vec<String> = words.filter_map(Node::text).collect();
    (!words.is_empty()).then(|| words.join(": "))
}

/// A date-time in UTC, whether or not it says so.
pub fn moment(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let in_utc = || {
        Offset::UTC
            .to_timestamp(text.parse::<civil::DateTime>().ok()?)
            .ok()
    };
    let http_date = || httpdate::parse_http_date(text).ok()?.try_into().ok();
    text.parse().ok().or_else(in_utc).or_else(http_date)
}

/// What the body of a 200 comes to.
pub fn outcome(answer: Node) -> Result<Outcome, Malformed> {
    let members = answer.object("")?;
    let customers = members.get("customer").array("customer")?;
    let customers = customers.into_iter().enumerate().map(|(at, wire)| {
        customer(wire).map_err(|problem| problem.below(&format!("customer[{at}]")))
    });
    let page = page(members.get("paginationInfo"));
    Ok(Outcome::of(customers.collect::<Result<_, _>>()?, page))
}

/// Absent where a range was asked for.
fn page(info: Node) -> Option<Page> {
    let members = info.members();
    let count = |name| members.get(name).number()?.try_into().ok();
    let page = Page {
        total: count("count"),
        page: count("pagenum"),
        page_size: count("pagesize"),
    };
    (page != Page::default()).then_some(page)
}

fn customer(wire: Node) -> Result<Customer, Malformed> {
    let members = wire.object("")?;
    let people = members
        .get("contacts")
        .list()
        .into_iter()
        .flat_map(|contacts| contacts.get("contact").list());
    Ok(Customer {
        customer_id: members.get("id").required_id("id")?,
        name: members.get("customerName").text(),
        kind: held(members.get("type")).text(),
        contacts: people.filter_map(contact).collect(),
        created_at: date::of(held(members.get("created"))),
        changed_at: date::of(held(members.get("lastModified"))),
        ..Customer::default()
    })
}

/// The value itself, or that in an object that holds it as `value` or `date`.
fn held(value: Node) -> Node {
    if !value.is_container() {
        return value;
    }
    let holder = value.members();
    holder.get("value").or(holder.get("date"))
}

/// A person, where it is an object; a contact that eGain made by itself is none.
fn contact(person: Node) -> Option<Contact> {
    let members = person.object("").ok()?;
    if members.get("systemCreated").flag() == Some(true) {
        return None;
    }
    let names = ["firstName", "middleName", "lastName"].into_iter();
    let names: Vec<String> = names.filter_map(|name| members.get(name).text()).collect();
    let addresses = members.get("email").list().into_iter();
    Some(Contact {
        id: members.get("id").id(),
        name: (!names.is_empty()).then(|| names.join(" ")),
        phones: members
            .get("phone")
            .list()
            .into_iter()
            .filter_map(phone)
            .collect(),
        emails: addresses
            .filter_map(|email| email.get("emailAddress").text().map(Email::of))
            .collect(),
        primary: None,
    })
}

/// The parts, joined as people write them: `+1 408 234 3456`.
fn phone(number: Node) -> Option<Phone> {
    let members = number.members();
    let country = members
        .get("countryCode")
        .id()
        .map(|code| format!("+{}", code.trim_start_matches('+')));
    let parts = [
        country,
        members.get("areaCode").id(),
        Some(members.get("phoneNo").id()?),
    ];
    Some(Phone {
        number: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
        extension: members.get("extension").text(),
        kind: held(members.get("type")).text(),
        id: members.get("id").id(),
        ..Phone::default()
    })
}
