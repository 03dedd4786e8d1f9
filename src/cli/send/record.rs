//! A result as a row of a table: what a CRM takes back.

use csv::WriterBuilder;
use serde::Deserialize;

use crate::customer::{Customer, Email, Phone};

/// The columns. The last is never in quotes, nor empty.
pub(super) const COLUMNS: [&str; 15] = [
    "job_id",
    "provider",
    "status",
    "customers",
    "customer_id",
    "account_id",
    "name",
    "phones",
    "emails",
    "error",
    "message",
    "http_status",
    "retryable",
    "attempts",
    "completed_at",
];

/// What is read of a result.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub job_id: String,
    pub provider: String,
    pub status: String,
    #[serde(default)]
    pub customers: Vec<Customer>,
    #[serde(default)]
    pub error: Option<Error>,
    pub attempts: u32,
    pub completed_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Error {
    pub kind: String,
    pub message: String,
    #[serde(default)]
    pub http_status: Option<u16>,
    pub retryable: bool,
}

/// The first row.
pub(super) fn header(separator: u8) -> Vec<u8> {
    written(separator, COLUMNS)
}

/// The row of a result. What several customers have stands in one field, with semicolons between.
pub(super) fn of(answer: &Answer, separator: u8) -> Vec<u8> {
    let customers = &answer.customers;
    let each = |of: fn(&Customer) -> Option<&str>| joined(customers.iter().filter_map(of));
    let phones = customers
        .iter()
        .flat_map(phones)
        .map(|phone| &*phone.number);
    let emails = customers
        .iter()
        .flat_map(emails)
        .map(|email| &*email.address);
    let error = answer.error.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    written(
        separator,
        [
            answer.job_id.clone(),
            answer.provider.clone(),
            answer.status.clone(),
            customers.len().to_string(),
            each(|customer| Some(&customer.customer_id)),
            each(|customer| customer.account_id.as_deref()),
            each(|customer| customer.name.as_deref()),
            joined(phones),
            joined(emails),
            text(error.map(|error| error.kind.clone())),
            text(error.map(|error| error.message.clone())),
            text(error.and_then(|error| Some(error.http_status?.to_string()))),
            text(error.map(|error| error.retryable.to_string())),
            answer.attempts.to_string(),
            answer.completed_at.clone(),
        ]
        .map(|field| harmless(&field)),
    )
}

fn phones(customer: &Customer) -> impl Iterator<Item = &Phone> {
    let contacts = customer.contacts.iter();
    customer
        .phones
        .iter()
        .chain(contacts.flat_map(|contact| &contact.phones))
}

fn emails(customer: &Customer) -> impl Iterator<Item = &Email> {
    let contacts = customer.contacts.iter();
    customer
        .emails
        .iter()
        .chain(contacts.flat_map(|contact| &contact.emails))
}

fn joined<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.collect::<Vec<_>>().join("; ")
}

/// A spreadsheet takes a field that begins so for a formula, and runs it: a name is not to be one. A sign before
/// digits stays, since a number begins with it. [`as_it_came`] takes it back.
fn harmless(field: &str) -> String {
    if is_formula(field.trim_start_matches(MARK)) {
        format!("{MARK}{field}")
    } else {
        field.to_owned()
    }
}

/// What stood in a field before [`harmless`] marked it.
pub(super) fn as_it_came(field: &[u8]) -> &[u8] {
    let marked = |text: &str| text.starts_with(MARK) && is_formula(text.trim_start_matches(MARK));
    match std::str::from_utf8(field) {
        Ok(text) if marked(text) => &field[MARK.len_utf8()..],
        _ => field,
    }
}

/// What a spreadsheet shows a field behind, as it stands.
const MARK: char = '\'';

fn is_formula(field: &str) -> bool {
    let rest = field.trim_start_matches(['+', '-']);
    let is_number = |rest: &str| {
        rest.starts_with(|first: char| first.is_ascii_digit())
            && rest
                .chars()
                .all(|letter| !letter.is_alphabetic() && !"=!*/@".contains(letter))
    };
    match field.chars().next() {
        Some('=' | '@' | '\t' | '\r') => true,
        Some('+' | '-') => !is_number(rest),
        _ => false,
    }
}

fn written<T: AsRef<[u8]>>(separator: u8, fields: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut writer = WriterBuilder::new()
        .delimiter(separator)
        .from_writer(Vec::new());
    // Nothing can fail where memory is written to.
    let _ = writer.write_record(fields);
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_what_several_customers_have() {
        let json = r#"{"job_id":"j-1","provider":"egain","status":"found","customers":[
            {"customer_id":"1","name":"Ada; Co","phones":[{"number":"+84 1"}]},
            {"customer_id":"2","contacts":[{"phones":[{"number":"84 2"}],"emails":[{"address":"a@b.c"}]}]}],
            "attempts":1,"completed_at":"2026-11-21T10:15:29.512Z"}"#;
        let row = of(&serde_json::from_str(json).unwrap(), b',');
        assert_eq!(
            String::from_utf8(row).unwrap(),
            "j-1,egain,found,2,1; 2,,Ada; Co,+84 1; 84 2,a@b.c,,,,,1,2026-11-21T10:15:29.512Z\n"
        );
    }

    #[test]
    fn a_failure_tells_its_class() {
        let json = r#"{"job_id":"j-1","provider":"egain","status":"failed","attempts":8,"completed_at":"then",
            "error":{"kind":"provider_error","message":"it said \"no\"","http_status":503,"retryable":true}}"#;
        let row = of(&serde_json::from_str(json).unwrap(), b';');
        assert_eq!(
            String::from_utf8(row).unwrap(),
            "j-1;egain;failed;0;;;;;;provider_error;\"it said \"\"no\"\"\";503;true;8;then\n"
        );
    }

    #[test]
    fn no_field_is_a_formula() {
        for (field, expected) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+84 (907) 089-782", "+84 (907) 089-782"),
            ("+84 1; +84 2", "+84 1; +84 2"),
            ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
            ("'=1+1", "''=1+1"),
            ("'Ada", "'Ada"),
            ("Ada", "Ada"),
            ("", ""),
        ] {
            assert_eq!(harmless(field), expected);
            assert_eq!(as_it_came(expected.as_bytes()), field.as_bytes());
        }
    }
}
