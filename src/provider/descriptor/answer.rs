//! From an answer's body to customers.

use serde_json::Value;

use super::{
    field::{At, Field, Holds},
    mistakes::Mistakes,
    path::Path,
    shape::{
        AnswerShape, ContactsShape, CustomerShape, EmailsShape, FieldShape, LocationsShape,
        PageShape, PhonesShape,
    },
    template::{Slots, Values},
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

/// Something that stands at a node of an answer.
trait Read {
    type Of;

    /// None where what it cannot be without is missing.
    fn read(&self, at: At) -> Option<Self::Of>;

    /// Those of its fields whose values may be codes.
    fn fields(&self) -> Vec<&Field>;
}

/// A list of such things.
#[derive(Debug)]
struct Each<R> {
    each: Path,
    rule: R,
}

impl<R: Read> Each<R> {
    /// One for each node. A node that is a list itself stands for its elements, since some APIs leave the list out
    /// where there is one alone.
    fn read(&self, at: At) -> Vec<R::Of> {
        let mut all = Vec::new();
        for node in self.each.nodes(at.node) {
            match node {
                Value::Array(items) => {
                    all.extend(
                        items
                            .iter()
                            .filter_map(|item| self.rule.read(at.node(item))),
                    );
                }
                node => all.extend(self.rule.read(at.node(node))),
            }
        }
        all
    }
}

/// A list that the descriptor may leave out.
fn list<R: Read>(each: Option<&Each<R>>, at: At) -> Vec<R::Of> {
    each.map(|each| each.read(at)).unwrap_or_default()
}

fn text(field: Option<&Field>, at: At) -> Option<String> {
    field?.text(at)
}

fn date(field: Option<&Field>, at: At) -> Option<String> {
    field?.date(at)
}

fn truth(field: Option<&Field>, at: At) -> Option<bool> {
    field?.truth(at)
}

#[derive(Debug)]
struct CustomerRule {
    customer_id: Field,
    account_id: Option<Field>,
    name: Option<Field>,
    kind: Option<Field>,
    phones: Option<Each<PhoneRule>>,
    emails: Option<Each<EmailRule>>,
    locations: Option<Each<LocationRule>>,
    contacts: Option<Each<ContactRule>>,
    created_at: Option<Field>,
    changed_at: Option<Field>,
}

#[derive(Debug)]
struct PhoneRule {
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
    address: Field,
    primary: Option<Field>,
}

#[derive(Debug)]
struct LocationRule {
    id: Field,
}

#[derive(Debug)]
struct ContactRule {
    id: Option<Field>,
    name: Option<Field>,
    phones: Option<Each<PhoneRule>>,
    emails: Option<Each<EmailRule>>,
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
    pub fn new(shape: &AnswerShape, slots: &Slots, mistakes: &mut Mistakes) -> Option<Self> {
        let customers = mistakes.note("answer.customers", Path::parse(&shape.customers));
        let mut compiler = Compiler { slots, mistakes };
        let customer = compiler.customer("answer.customer", &shape.customer);
        let page = compiler.page("answer.page", &shape.page);
        Some(Self {
            customers: customers?,
            customer,
            page,
        })
    }

    /// The customers of an answer to what was `asked`, and its page.
    ///
    /// # Errors
    /// A customer without an id, or more customers than a lookup can have.
    pub fn read(
        &self,
        body: &Value,
        asked: &Values,
    ) -> Result<(Vec<Customer>, Option<Page>), Malformed> {
        let mut customers = Vec::new();
        for (number, node) in self.customers.nodes(body).enumerate() {
            if number == MOST_CUSTOMERS {
                let problem = format!("expected at most {MOST_CUSTOMERS} customers, got more");
                return Err(Malformed::at("answer.customers", problem));
            }
            let customer = self.customer.read(At { node, asked }).ok_or_else(|| {
                let problem = format!(
                    "expected a string or a whole number in customer {number} (counted from 0)"
                );
                Malformed::at("answer.customer.customer_id", problem)
            })?;
            customers.push(customer);
        }
        Ok((customers, self.page(body)))
    }

    /// Why nobody may have been found who is there: the list of customers is missing, or the answer counts some.
    pub fn doubt(&self, body: &Value) -> Option<String> {
        let list = self.customers.list();
        if let Some(list) = list.filter(|list| list.nodes(body).next().is_none()) {
            return Some(format!(
                "nothing stands at {list}, which counts as nobody found; where such an answer is an error, say so: \
                 [[classes]] with where = {{ path = \"{list}\", exists = false }} and class = \"bad_response\""
            ));
        }
        let total = self.page(body)?.total.filter(|total| *total > 0)?;
        Some(format!(
            "answer.page.total is {total}, but answer.customers leads to nobody; is its path right?"
        ))
    }

    /// The words of an answer that its fields name themselves.
    pub fn words(&self) -> Vec<String> {
        let fields = self.customer.fields().into_iter();
        fields.flat_map(Field::words).collect()
    }

    /// The fields of a customer that the descriptor names.
    pub fn fills(&self) -> Vec<&'static str> {
        self.customer.fills()
    }

    /// What an answer says of its pages.
    pub fn page(&self, body: &Value) -> Option<Page> {
        self.page.read(body)
    }
}

impl CustomerRule {
    fn fills(&self) -> Vec<&'static str> {
        let named = [
            ("customer_id", true),
            ("account_id", self.account_id.is_some()),
            ("name", self.name.is_some()),
            ("type", self.kind.is_some()),
            ("phones", self.phones.is_some()),
            ("emails", self.emails.is_some()),
            ("locations", self.locations.is_some()),
            ("contacts", self.contacts.is_some()),
            ("created_at", self.created_at.is_some()),
            ("changed_at", self.changed_at.is_some()),
        ];
        let named = named.into_iter().filter(|(_, is_named)| *is_named);
        named.map(|(name, _)| name).collect()
    }
}

impl Read for CustomerRule {
    type Of = Customer;

    fn read(&self, at: At) -> Option<Customer> {
        Some(Customer {
            customer_id: self.customer_id.text(at)?,
            account_id: text(self.account_id.as_ref(), at),
            name: text(self.name.as_ref(), at),
            kind: text(self.kind.as_ref(), at),
            phones: list(self.phones.as_ref(), at),
            emails: list(self.emails.as_ref(), at),
            locations: list(self.locations.as_ref(), at),
            contacts: list(self.contacts.as_ref(), at),
            created_at: date(self.created_at.as_ref(), at),
            changed_at: date(self.changed_at.as_ref(), at),
            ..Customer::default()
        })
    }

    fn fields(&self) -> Vec<&Field> {
        let phones = self.phones.iter().flat_map(|each| each.rule.fields());
        let emails = self.emails.iter().flat_map(|each| each.rule.fields());
        let contacts = self.contacts.iter().flat_map(|each| each.rule.fields());
        let own = self.kind.iter();
        own.chain(phones).chain(emails).chain(contacts).collect()
    }
}

impl Read for PhoneRule {
    type Of = Phone;

    fn read(&self, at: At) -> Option<Phone> {
        Some(Phone {
            number: self.number.text(at)?,
            extension: text(self.extension.as_ref(), at),
            kind: text(self.kind.as_ref(), at),
            kind_code: self.kind_code.as_ref().and_then(|field| field.integer(at)),
            primary: truth(self.primary.as_ref(), at),
            changed_at: date(self.changed_at.as_ref(), at),
            id: text(self.id.as_ref(), at),
        })
    }

    fn fields(&self) -> Vec<&Field> {
        self.kind.iter().chain(&self.primary).collect()
    }
}

impl Read for EmailRule {
    type Of = Email;

    fn read(&self, at: At) -> Option<Email> {
        Some(Email {
            address: self.address.text(at)?,
            primary: truth(self.primary.as_ref(), at),
        })
    }

    fn fields(&self) -> Vec<&Field> {
        self.primary.iter().collect()
    }
}

impl Read for LocationRule {
    type Of = Location;

    fn read(&self, at: At) -> Option<Location> {
        let id = self.id.text(at)?;
        Some(Location { id })
    }

    fn fields(&self) -> Vec<&Field> {
        Vec::new()
    }
}

impl Read for ContactRule {
    type Of = Contact;

    /// An object is a person, even where nothing can be read of it.
    fn read(&self, at: At) -> Option<Contact> {
        let contact = Contact {
            id: text(self.id.as_ref(), at),
            name: text(self.name.as_ref(), at),
            phones: list(self.phones.as_ref(), at),
            emails: list(self.emails.as_ref(), at),
            primary: truth(self.primary.as_ref(), at),
        };
        (at.node.is_object() || contact != Contact::default()).then_some(contact)
    }

    fn fields(&self) -> Vec<&Field> {
        let phones = self.phones.iter().flat_map(|each| each.rule.fields());
        let emails = self.emails.iter().flat_map(|each| each.rule.fields());
        self.primary.iter().chain(phones).chain(emails).collect()
    }
}

impl PageRule {
    fn read(&self, body: &Value) -> Option<Page> {
        let at = At {
            node: body,
            asked: &Values::new(),
        };
        let number = |field: &Option<Field>| field.as_ref()?.integer(at);
        let page = Page {
            total: number(&self.total),
            page: number(&self.page),
            page_size: number(&self.page_size),
        };
        (page != Page::default()).then_some(page)
    }
}

/// Compiles and notes what is wrong.
struct Compiler<'a> {
    slots: &'a Slots,
    mistakes: &'a mut Mistakes,
}

impl Compiler<'_> {
    fn field(&mut self, key: &str, name: &str, holds: Holds, shape: &FieldShape) -> Field {
        let key = format!("{key}.{name}");
        Field::new(&key, holds, shape, self.slots, self.mistakes)
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

    fn each<R>(&mut self, key: &str, each: &str, rule: R) -> Option<Each<R>> {
        let each = self
            .mistakes
            .note(&format!("{key}.each"), Path::parse(each))?;
        Some(Each { each, rule })
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

    fn phones(&mut self, key: &str, shape: Option<&PhonesShape>) -> Option<Each<PhoneRule>> {
        let shape = shape?;
        let rule = PhoneRule {
            number: self.field(key, "number", Holds::Id, &shape.number),
            extension: self.optional(key, "extension", Holds::Id, shape.extension.as_ref()),
            kind: self.optional(key, "kind", Holds::Text, shape.kind.as_ref()),
            kind_code: self.optional(key, "kind_code", Holds::Integer, shape.kind_code.as_ref()),
            primary: self.optional(key, "primary", Holds::Truth, shape.primary.as_ref()),
            changed_at: self.optional(key, "changed_at", Holds::Date, shape.changed_at.as_ref()),
            id: self.optional(key, "id", Holds::Id, shape.id.as_ref()),
        };
        self.each(key, &shape.each, rule)
    }

    fn emails(&mut self, key: &str, shape: Option<&EmailsShape>) -> Option<Each<EmailRule>> {
        let shape = shape?;
        let rule = EmailRule {
            address: self.field(key, "address", Holds::Text, &shape.address),
            primary: self.optional(key, "primary", Holds::Truth, shape.primary.as_ref()),
        };
        self.each(key, &shape.each, rule)
    }

    fn locations(
        &mut self,
        key: &str,
        shape: Option<&LocationsShape>,
    ) -> Option<Each<LocationRule>> {
        let shape = shape?;
        let id = self.field(key, "id", Holds::Id, &shape.id);
        self.each(key, &shape.each, LocationRule { id })
    }

    fn contacts(&mut self, key: &str, shape: Option<&ContactsShape>) -> Option<Each<ContactRule>> {
        let shape = shape?;
        let rule = ContactRule {
            id: self.optional(key, "id", Holds::Id, shape.id.as_ref()),
            name: self.optional(key, "name", Holds::Text, shape.name.as_ref()),
            phones: self.phones(&format!("{key}.phones"), shape.phones.as_ref()),
            emails: self.emails(&format!("{key}.emails"), shape.emails.as_ref()),
            primary: self.optional(key, "primary", Holds::Truth, shape.primary.as_ref()),
        };
        self.each(key, &shape.each, rule)
    }

    fn page(&mut self, key: &str, shape: &PageShape) -> PageRule {
        PageRule {
            total: self.optional(key, "total", Holds::Integer, shape.total.as_ref()),
            page: self.optional(key, "page", Holds::Integer, shape.page.as_ref()),
            page_size: self.optional(key, "page_size", Holds::Integer, shape.page_size.as_ref()),
        }
    }
}
