//! From an answer's body to customers.

use serde_json::Value;

use super::{
    field::{Field, Holds},
    mistakes::Mistakes,
    path::Path,
    shape::{
        AnswerShape, ContactsShape, CustomerShape, EmailsShape, FieldShape, LocationsShape,
        PageShape, PhonesShape,
    },
};
use crate::{
    customer::{Contact, Customer, Email, Location, Page, Phone},
    json::Malformed,
};

/// More customers than this are no answer to a lookup.
const MOST_CUSTOMERS: usize = 1_000;

/// `[answer]`, compiled.
#[derive(Debug)]
pub struct Answer {
    customers: Path,
    customer: CustomerRule,
    page: PageRule,
}

#[derive(Debug)]
struct CustomerRule {
    customer_id: Field,
    account_id: Option<Field>,
    name: Option<Field>,
    kind: Option<Field>,
    phones: Option<PhoneRule>,
    emails: Option<EmailRule>,
    locations: Option<LocationRule>,
    contacts: Option<ContactRule>,
    created_at: Option<Field>,
    changed_at: Option<Field>,
}

#[derive(Debug)]
struct PhoneRule {
    each: Path,
    number: Field,
    extension: Option<Field>,
    kind: Option<Field>,
    kind_code: Option<Field>,
    primary: Option<Field>,
    changed_at: Option<Field>,
    id: Option<Field>,
}

#[derive(Debug)]
struct EmailRule {
    each: Path,
    address: Field,
    primary: Option<Field>,
}

#[derive(Debug)]
struct LocationRule {
    each: Path,
    id: Field,
}

#[derive(Debug)]
struct ContactRule {
    each: Path,
    id: Option<Field>,
    name: Option<Field>,
    phones: Option<PhoneRule>,
    emails: Option<EmailRule>,
    primary: Option<Field>,
}

#[derive(Debug)]
struct PageRule {
    total: Option<Field>,
    page: Option<Field>,
    page_size: Option<Field>,
}

impl Answer {
    /// Compiles the section.
    pub fn new(shape: &AnswerShape, mistakes: &mut Mistakes) -> Option<Self> {
        let customers = mistakes.note("answer.customers", Path::parse(&shape.customers));
        let mut compiler = Compiler(mistakes);
        let customer = compiler.customer("answer.customer", &shape.customer);
        let page = compiler.page("answer.page", &shape.page);
        Some(Self {
            customers: customers?,
            customer,
            page,
        })
    }

    /// The customers of an answer, and its page.
    ///
    /// # Errors
    /// A customer without an id, or more customers than a lookup can have.
    pub fn read(&self, body: &Value) -> Result<(Vec<Customer>, Option<Page>), Malformed> {
        let mut customers = Vec::new();
        for (number, node) in self.customers.nodes(body).enumerate() {
            if number == MOST_CUSTOMERS {
                let problem = format!("expected at most {MOST_CUSTOMERS} customers, got more");
                return Err(Malformed::at("answer.customers", problem));
            }
            let customer = self.customer.read(node).ok_or_else(|| {
                let problem = format!(
                    "expected a string or a whole number in customer {number} (counted from 0)"
                );
                Malformed::at("answer.customer.customer_id", problem)
            })?;
            customers.push(customer);
        }
        Ok((customers, self.page(body)))
    }

    /// The words of an answer that its fields name themselves.
    pub fn words(&self) -> Vec<String> {
        self.customer.fields().flat_map(Field::words).collect()
    }

    /// What an answer says of its pages.
    pub fn page(&self, body: &Value) -> Option<Page> {
        self.page.read(body)
    }
}

impl CustomerRule {
    /// Those whose values may be codes.
    fn fields(&self) -> impl Iterator<Item = &Field> {
        let contacts = self.contacts.as_ref();
        let phones = self.phones.iter();
        let phones = phones.chain(contacts.and_then(|contacts| contacts.phones.as_ref()));
        let emails = self.emails.iter();
        let emails = emails.chain(contacts.and_then(|contacts| contacts.emails.as_ref()));
        let of_phones = phones.flat_map(|rule| rule.kind.iter().chain(&rule.primary));
        let of_emails = emails.flat_map(|rule| &rule.primary);
        let of_contacts = contacts.into_iter().flat_map(|rule| &rule.primary);
        let own = self.kind.iter();
        own.chain(of_phones).chain(of_emails).chain(of_contacts)
    }

    fn read(&self, node: &Value) -> Option<Customer> {
        Some(Customer {
            customer_id: self.customer_id.text(node)?,
            account_id: text(self.account_id.as_ref(), node),
            name: text(self.name.as_ref(), node),
            kind: text(self.kind.as_ref(), node),
            phones: self
                .phones
                .as_ref()
                .map(|rule| rule.read(node))
                .unwrap_or_default(),
            emails: self
                .emails
                .as_ref()
                .map(|rule| rule.read(node))
                .unwrap_or_default(),
            locations: self
                .locations
                .as_ref()
                .map(|rule| rule.read(node))
                .unwrap_or_default(),
            contacts: self
                .contacts
                .as_ref()
                .map(|rule| rule.read(node))
                .unwrap_or_default(),
            created_at: date(self.created_at.as_ref(), node),
            changed_at: date(self.changed_at.as_ref(), node),
        })
    }
}

impl PhoneRule {
    fn read(&self, node: &Value) -> Vec<Phone> {
        let phone = |node: &Value| {
            Some(Phone {
                number: self.number.text(node)?,
                extension: text(self.extension.as_ref(), node),
                kind: text(self.kind.as_ref(), node),
                kind_code: self
                    .kind_code
                    .as_ref()
                    .and_then(|field| field.integer(node)),
                primary: truth(self.primary.as_ref(), node),
                changed_at: date(self.changed_at.as_ref(), node),
                id: text(self.id.as_ref(), node),
            })
        };
        self.each.nodes(node).filter_map(phone).collect()
    }
}

impl EmailRule {
    fn read(&self, node: &Value) -> Vec<Email> {
        let email = |node: &Value| {
            Some(Email {
                address: self.address.text(node)?,
                primary: truth(self.primary.as_ref(), node),
            })
        };
        self.each.nodes(node).filter_map(email).collect()
    }
}

impl LocationRule {
    fn read(&self, node: &Value) -> Vec<Location> {
        let location = |node: &Value| {
            Some(Location {
                id: self.id.text(node)?,
            })
        };
        self.each.nodes(node).filter_map(location).collect()
    }
}

impl ContactRule {
    fn read(&self, node: &Value) -> Vec<Contact> {
        let contact = |node: &Value| {
            let contact = Contact {
                id: text(self.id.as_ref(), node),
                name: text(self.name.as_ref(), node),
                phones: self
                    .phones
                    .as_ref()
                    .map(|rule| rule.read(node))
                    .unwrap_or_default(),
                emails: self
                    .emails
                    .as_ref()
                    .map(|rule| rule.read(node))
                    .unwrap_or_default(),
                primary: truth(self.primary.as_ref(), node),
            };
            (contact != Contact::default()).then_some(contact)
        };
        self.each.nodes(node).filter_map(contact).collect()
    }
}

impl PageRule {
    fn read(&self, body: &Value) -> Option<Page> {
        let number = |field: &Option<Field>| field.as_ref()?.integer(body);
        let page = Page {
            total: number(&self.total),
            page: number(&self.page),
            page_size: number(&self.page_size),
        };
        (page != Page::default()).then_some(page)
    }
}

fn text(field: Option<&Field>, node: &Value) -> Option<String> {
    field?.text(node)
}

fn date(field: Option<&Field>, node: &Value) -> Option<String> {
    field?.date(node)
}

fn truth(field: Option<&Field>, node: &Value) -> Option<bool> {
    field?.truth(node)
}

/// Compiles and notes what is wrong.
struct Compiler<'a>(&'a mut Mistakes);

impl Compiler<'_> {
    fn path(&mut self, key: &str, text: &str) -> Option<Path> {
        self.0.note(key, Path::parse(text))
    }

    fn field(&mut self, key: &str, name: &str, holds: Holds, shape: &FieldShape) -> Field {
        Field::new(&format!("{key}.{name}"), holds, shape, self.0)
    }

    fn optional(
        &mut self,
        key: &str,
        name: &str,
        holds: Holds,
        shape: Option<&FieldShape>,
    ) -> Option<Field> {
        shape.map(|shape| self.field(key, name, holds, shape))
    }

    fn customer(&mut self, key: &str, shape: &CustomerShape) -> CustomerRule {
        CustomerRule {
            customer_id: self.field(key, "customer_id", Holds::Id, &shape.customer_id),
            account_id: self.optional(key, "account_id", Holds::Id, shape.account_id.as_ref()),
            name: self.optional(key, "name", Holds::Text, shape.name.as_ref()),
            kind: self.optional(key, "type", Holds::Text, shape.kind.as_ref()),
            phones: self.phones(&format!("{key}.phones"), shape.phones.as_ref()),
            emails: self.emails(&format!("{key}.emails"), shape.emails.as_ref()),
            locations: self.locations(&format!("{key}.locations"), shape.locations.as_ref()),
            contacts: self.contacts(&format!("{key}.contacts"), shape.contacts.as_ref()),
            created_at: self.optional(key, "created_at", Holds::Date, shape.created_at.as_ref()),
            changed_at: self.optional(key, "changed_at", Holds::Date, shape.changed_at.as_ref()),
        }
    }

    fn phones(&mut self, key: &str, shape: Option<&PhonesShape>) -> Option<PhoneRule> {
        let shape = shape?;
        let each = self.path(&format!("{key}.each"), &shape.each);
        let rule = PhoneRule {
            number: self.field(key, "number", Holds::Id, &shape.number),
            extension: self.optional(key, "extension", Holds::Id, shape.extension.as_ref()),
            kind: self.optional(key, "kind", Holds::Text, shape.kind.as_ref()),
            kind_code: self.optional(key, "kind_code", Holds::Integer, shape.kind_code.as_ref()),
            primary: self.optional(key, "primary", Holds::Truth, shape.primary.as_ref()),
            changed_at: self.optional(key, "changed_at", Holds::Date, shape.changed_at.as_ref()),
            id: self.optional(key, "id", Holds::Id, shape.id.as_ref()),
            each: each?,
        };
        Some(rule)
    }

    fn emails(&mut self, key: &str, shape: Option<&EmailsShape>) -> Option<EmailRule> {
        let shape = shape?;
        let each = self.path(&format!("{key}.each"), &shape.each);
        let rule = EmailRule {
            address: self.field(key, "address", Holds::Text, &shape.address),
            primary: self.optional(key, "primary", Holds::Truth, shape.primary.as_ref()),
            each: each?,
        };
        Some(rule)
    }

    fn locations(&mut self, key: &str, shape: Option<&LocationsShape>) -> Option<LocationRule> {
        let shape = shape?;
        let each = self.path(&format!("{key}.each"), &shape.each);
        let rule = LocationRule {
            id: self.field(key, "id", Holds::Id, &shape.id),
            each: each?,
        };
        Some(rule)
    }

    fn contacts(&mut self, key: &str, shape: Option<&ContactsShape>) -> Option<ContactRule> {
        let shape = shape?;
        let each = self.path(&format!("{key}.each"), &shape.each);
        let rule = ContactRule {
            id: self.optional(key, "id", Holds::Id, shape.id.as_ref()),
            name: self.optional(key, "name", Holds::Text, shape.name.as_ref()),
            phones: self.phones(&format!("{key}.phones"), shape.phones.as_ref()),
            emails: self.emails(&format!("{key}.emails"), shape.emails.as_ref()),
            primary: self.optional(key, "primary", Holds::Truth, shape.primary.as_ref()),
            each: each?,
        };
        Some(rule)
    }

    fn page(&mut self, key: &str, shape: &PageShape) -> PageRule {
        PageRule {
            total: self.optional(key, "total", Holds::Integer, shape.total.as_ref()),
            page: self.optional(key, "page", Holds::Integer, shape.page.as_ref()),
            page_size: self.optional(key, "page_size", Holds::Integer, shape.page_size.as_ref()),
        }
    }
}
