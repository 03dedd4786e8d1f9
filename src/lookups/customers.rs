//! Customers of several providers, put together (contract §11).

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    customer::{Contact, Customer, Email, Phone},
    lookups::settings::{By, Field},
};

/// Whether the customer has it.
pub(super) fn has(customer: &Customer, field: Field) -> bool {
    match field {
        Field::CustomerId => !customer.customer_id.is_empty(),
        Field::AccountId => customer.account_id.is_some(),
        Field::Name => customer.name.is_some(),
        Field::Type => customer.kind.is_some(),
        Field::Phones => !customer.phones.is_empty(),
        Field::Emails => !customer.emails.is_empty(),
        Field::Locations => !customer.locations.is_empty(),
        Field::Contacts => !customer.contacts.is_empty(),
        Field::CreatedAt => customer.created_at.is_some(),
        Field::ChangedAt => customer.changed_at.is_some(),
    }
}

/// As the provider found it.
pub(super) fn found_by(provider: &str, mut customer: Customer) -> Customer {
    customer.source = Some(provider.to_owned());
    customer
}

/// The first of what is put together, with what it tells of that.
pub(super) fn first_of(provider: &str, customer: Customer) -> Customer {
    let mut customer = found_by(provider, customer);
    customer.sources = vec![provider.to_owned()];
    let id = customer.customer_id.clone();
    customer.source_ids.insert(provider.to_owned(), id);
    for field in Field::ALL {
        if has(&customer, field) {
            customer
                .field_sources
                .insert(field.as_str().to_owned(), vec![provider.to_owned()]);
        }
    }
    customer
}

/// Adds what a later step found: its fields where the customer has none, and of its lists what is not there yet.
pub(super) fn add(customer: &mut Customer, provider: &str, more: Customer) {
    note(&mut customer.sources, provider);
    let id = more.customer_id.clone();
    customer.source_ids.entry(provider.to_owned()).or_insert(id);
    let sources = &mut customer.field_sources;
    let mut gave = |field: &str| note(sources.entry(field.to_owned()).or_default(), provider);
    let mut fill = |own: &mut Option<String>, other: Option<String>, field| {
        if own.is_none() && other.is_some() {
            *own = other;
            gave(field);
        }
    };
    fill(&mut customer.account_id, more.account_id, "account_id");
    fill(&mut customer.name, more.name, "name");
    fill(&mut customer.kind, more.kind, "type");
    fill(&mut customer.created_at, more.created_at, "created_at");
    fill(&mut customer.changed_at, more.changed_at, "changed_at");
    let same_phone = |a: &Phone, b: &Phone| {
        a.number == b.number
            || (!digits(&a.number).is_empty() && digits(&a.number) == digits(&b.number))
    };
    if extend(&mut customer.phones, more.phones, same_phone) {
        gave("phones");
    }
    let same_email = |a: &Email, b: &Email| folded(&a.address) == folded(&b.address);
    if extend(&mut customer.emails, more.emails, same_email) {
        gave("emails");
    }
    if extend(&mut customer.locations, more.locations, PartialEq::eq) {
        gave("locations");
    }
    let same_contact = |a: &Contact, b: &Contact| a == b;
    if extend(&mut customer.contacts, more.contacts, same_contact) {
        gave("contacts");
    }
}

fn note(providers: &mut Vec<String>, provider: &str) {
    if !providers.iter().any(|known| known == provider) {
        providers.push(provider.to_owned());
    }
}

/// Says whether there was anything new.
fn extend<T>(own: &mut Vec<T>, others: Vec<T>, same: impl Fn(&T, &T) -> bool) -> bool {
    let before = own.len();
    for other in others {
        if !own.iter().any(|known| same(known, &other)) {
            own.push(other);
        }
    }
    own.len() > before
}

/// Customers that are one.
#[derive(Default)]
struct Group<'a> {
    /// What they share with others, or may.
    keys: BTreeSet<String>,
    /// Whose they are: two of one provider are two, by its own word.
    providers: BTreeSet<&'a str>,
    /// Which of those found.
    members: Vec<usize>,
}

/// Those of different providers that share one of `by` are one; whoever was found first stands for them, in the place
/// that it has.
pub(super) fn together(found: Vec<(&str, Customer)>, by: &[By]) -> Vec<Customer> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, (provider, customer)) in found.iter().enumerate() {
        let mut group = Group {
            keys: keys(customer, by),
            providers: BTreeSet::from([*provider]),
            members: vec![at],
        };
        // It may join several groups that had nothing in common before.
        let own = group.keys.clone();
        groups.retain_mut(|other| {
            let joins =
                !other.keys.is_disjoint(&own) && other.providers.is_disjoint(&group.providers);
            if joins {
                group.keys.append(&mut other.keys);
                group.providers.append(&mut other.providers);
                group.members.append(&mut other.members);
            }
            !joins
        });
        group.members.sort_unstable();
        groups.push(group);
        groups.sort_by_key(|group| group.members[0]);
    }
    let mut found: BTreeMap<usize, _> = found.into_iter().enumerate().collect();
    let mut one = |members: Vec<usize>| {
        let mut members = members.into_iter().filter_map(|at| found.remove(&at));
        let (provider, customer) = members.next()?;
        let mut customer = first_of(provider, customer);
        members.for_each(|(provider, more)| add(&mut customer, provider, more));
        Some(customer)
    };
    groups
        .into_iter()
        .filter_map(|group| one(group.members))
        .collect()
}

/// What it may share with another.
fn keys(customer: &Customer, by: &[By]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for by in by {
        match by {
            By::CustomerId if !customer.customer_id.is_empty() => {
                keys.insert(format!("id {}", customer.customer_id));
            }
            By::CustomerId => {}
            By::Phones => {
                let contacts = customer.contacts.iter().flat_map(|contact| &contact.phones);
                let digits = customer
                    .phones
                    .iter()
                    .chain(contacts)
                    .map(|phone| digits(&phone.number));
                keys.extend(
                    digits
                        .filter(|digits| !digits.is_empty())
                        .map(|digits| format!("phone {digits}")),
                );
            }
            By::Emails => {
                let contacts = customer.contacts.iter().flat_map(|contact| &contact.emails);
                let addresses = customer
                    .emails
                    .iter()
                    .chain(contacts)
                    .map(|email| folded(&email.address));
                keys.extend(
                    addresses
                        .filter(|address| !address.is_empty())
                        .map(|address| format!("email {address}")),
                );
            }
        }
    }
    keys
}

fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

fn folded(address: &str) -> String {
    address.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(id: &str, phones: &[&str], emails: &[&str]) -> Customer {
        let phone = |number: &&str| Phone::of((*number).to_owned());
        let email = |address: &&str| Email::of((*address).to_owned());
        Customer {
            customer_id: id.into(),
            phones: phones.iter().map(phone).collect(),
            emails: emails.iter().map(email).collect(),
            ..Customer::default()
        }
    }

    const ALL: [By; 3] = [By::Phones, By::Emails, By::CustomerId];

    #[test]
    fn those_that_share_a_number_an_address_or_an_id_are_one_also_by_a_third() {
        let found = || {
            vec![
                ("a", customer("1", &["+84 907 089 782"], &[])),
                ("b", customer("2", &[], &["Ann@x.example"])),
                ("b", customer("3", &["99"], &[])),
                ("c", customer("4", &["84907089782"], &["ann@X.example"])),
                ("d", customer("3", &[], &[])),
            ]
        };
        let ids = |customers: Vec<Customer>| {
            customers
                .into_iter()
                .map(|customer| (customer.customer_id, customer.sources))
                .collect::<Vec<_>>()
        };
        let of = |sources: &[&str]| {
            sources
                .iter()
                .map(|it| (*it).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ids(together(found(), &ALL)),
            [
                ("1".into(), of(&["a", "b", "c"])),
                ("3".into(), of(&["b", "d"]))
            ]
        );
        assert_eq!(together(found(), &[By::CustomerId]).len(), 4);
        assert_eq!(together(found(), &[By::Emails]).len(), 4);
        assert_eq!(together(found(), &[By::Phones]).len(), 4);
    }

    #[test]
    fn two_customers_of_one_provider_are_two_whatever_they_share() {
        let found = vec![
            ("a", customer("1", &["841"], &[])),
            ("a", customer("2", &["841"], &[])),
            ("b", customer("9", &["841"], &[])),
        ];
        let together = together(found, &ALL);
        let ids: Vec<_> = together.iter().map(|it| it.source_ids.clone()).collect();
        let of = |ids: &[(&str, &str)]| {
            let ids = ids.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            ids.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(ids, [of(&[("a", "1"), ("b", "9")]), of(&[("a", "2")])]);
    }

    #[test]
    fn a_contact_s_number_counts_and_none_at_all_is_nobody_s() {
        let mut company = customer("1", &[], &[]);
        company.contacts.push(Contact {
            phones: vec![Phone::of("+1 (408) 555".into())],
            ..Contact::default()
        });
        let found = vec![("a", company), ("b", customer("2", &["1408555"], &[]))];
        assert_eq!(together(found, &ALL).len(), 1);
        let nobody = || customer("", &["-"], &[" "]);
        assert_eq!(
            together(vec![("a", nobody()), ("b", nobody())], &ALL).len(),
            2
        );
    }

    #[test]
    fn fields_of_earlier_steps_win_and_what_they_lack_is_added() {
        let mut first = customer("1", &["84 1"], &[]);
        first.name = Some("Ann".into());
        let mut second = customer("2", &["841", "842"], &["a@x"]);
        (second.name, second.account_id) = (Some("Anne".into()), Some("acc".into()));
        let customer = together(vec![("a", first), ("b", second)], &ALL).remove(0);
        assert_eq!(customer.customer_id, "1");
        assert_eq!(customer.name.as_deref(), Some("Ann"));
        assert_eq!(customer.account_id.as_deref(), Some("acc"));
        let numbers: Vec<_> = customer.phones.iter().map(|phone| &*phone.number).collect();
        assert_eq!(numbers, ["84 1", "842"]);
        assert_eq!(customer.source.as_deref(), Some("a"));
        assert_eq!(customer.field_sources["name"], ["a"]);
        assert_eq!(customer.field_sources["phones"], ["a", "b"]);
        assert_eq!(customer.field_sources["account_id"], ["b"]);
    }
}
