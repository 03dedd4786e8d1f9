//! Who is known, and how eGain writes them down.

use serde_json::{Map, Value, json};

/// The values that find somebody, for `--help`.
pub(super) const VALUES: &[(&str, &str)] = &[
    (
        "14082343456102",
        "as phone: four customers; the fourth by type, descending, is the document's Unichem (1009)",
    ),
    ("david.Stewart@customer.com", "as email: Unichem"),
    (
        "ada@example.com",
        "as email: 1021; also facebookId ada.fb, twitterId ada_tw, instagramId ada_ig,",
    ),
    (
        "",
        "appleOpaqueId ada-apple, youTubeId ada-yt, custom customer preferredlang English, activity type email",
    ),
    (
        "Laboratories",
        "as customerName, which may be a part: Unichem",
    ),
    (
        "Nobody Ltd",
        "as customerName: 1041, whose only contact was created by the system",
    ),
];

pub(super) struct Customer {
    pub id: u64,
    pub name: &'static str,
    pub kind: &'static str,
    pub created: &'static str,
    pub department: &'static str,
    pub contacts: &'static [Contact],
    /// Parameter and value of the networks' ids.
    pub networks: &'static [(&'static str, &'static str)],
    /// Object, name and value.
    pub custom: &'static [(&'static str, &'static str, &'static str)],
    pub activities: &'static [&'static str],
}

pub(super) struct Contact {
    id: u64,
    first: &'static str,
    last: &'static str,
    emails: &'static [(u64, &'static str)],
    phones: &'static [Phone],
}

struct Phone {
    id: u64,
    kind: &'static str,
    country: &'static str,
    area: &'static str,
    number: &'static str,
    extension: &'static str,
}

/// A pager that four customers share.
const PAGER: Phone = Phone {
    id: 1012,
    kind: "pager",
    country: "1",
    area: "408",
    number: "234 3456",
    extension: "102",
};
const HOME: Phone = Phone {
    id: 1032,
    kind: "home",
    country: "44",
    area: "20",
    number: "79460018",
    extension: "",
};

const NONE: Customer = Customer {
    id: 0,
    name: "",
    kind: "individual",
    created: "2021-10-25T14:53:31.000Z",
    department: "Service",
    contacts: &[],
    networks: &[],
    custom: &[],
    activities: &[],
};

pub(super) const CUSTOMERS: &[Customer] = &[
    Customer {
        id: 1009,
        name: "Unichem Laboratories Limited",
        kind: "corporate",
        contacts: &[Contact {
            id: 1010,
            first: "David",
            last: "Stewart",
            emails: &[(1011, "david.Stewart@customer.com")],
            phones: &[PAGER],
        }],
        ..NONE
    },
    Customer {
        id: 1021,
        name: "Ada Lovelace",
        created: "2015-12-10T08:00:00.000Z",
        contacts: &[Contact {
            id: 1031,
            first: "Ada",
            last: "Lovelace",
            emails: &[(1033, "ada@example.com"), (1034, "ada@home.example")],
            phones: &[HOME, PAGER],
        }],
        networks: &[
            ("facebookId", "ada.fb"),
            ("twitterId", "ada_tw"),
            ("instagramId", "ada_ig"),
            ("appleOpaqueId", "ada-apple"),
            ("youTubeId", "ada-yt"),
        ],
        custom: &[
            ("customer", "preferredlang", "English"),
            ("contactPerson", "isprimary", "y"),
        ],
        activities: &["email"],
        ..NONE
    },
    Customer {
        id: 1022,
        name: "Charles Babbage",
        contacts: &[Contact {
            id: 1035,
            first: "Charles",
            last: "Babbage",
            emails: &[],
            phones: &[PAGER],
        }],
        ..NONE
    },
    Customer {
        id: 1023,
        name: "Analytical Society",
        kind: "group",
        department: "Sales",
        contacts: &[Contact {
            id: 1036,
            first: "",
            last: "Peacock",
            emails: &[],
            phones: &[PAGER],
        }],
        ..NONE
    },
    Customer {
        id: 1041,
        name: "Nobody Ltd",
        kind: "corporate",
        department: "Sales",
        ..NONE
    },
];

impl Phone {
    /// As a caller dials it, with and without the extension.
    fn dials(&self, wanted: &str) -> bool {
        let digits = |text: String| {
            text.chars()
                .filter(char::is_ascii_digit)
                .collect::<String>()
        };
        let plain = digits([self.country, self.area, self.number].concat());
        wanted == plain || wanted == plain + self.extension
    }

    fn json(&self) -> Value {
        let mut phone = json!({ "type": { "value": self.kind }, "phoneNo": self.number, "id": self.id.to_string() });
        let optional = [
            ("countryCode", self.country),
            ("areaCode", self.area),
            ("extension", self.extension),
        ];
        for (name, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            phone[name] = value.into();
        }
        phone
    }
}

impl Contact {
    fn json(&self) -> Value {
        let mut contact =
            json!({ "systemCreated": false, "lastName": self.last, "id": self.id.to_string() });
        if !self.first.is_empty() {
            contact["firstName"] = self.first.into();
        }
        let emails = self
            .emails
            .iter()
            .map(|(id, email)| json!({ "emailAddress": email, "id": id.to_string() }));
        if !self.emails.is_empty() {
            contact["email"] = emails.collect();
        }
        if !self.phones.is_empty() {
            contact["phone"] = self.phones.iter().map(Phone::json).collect();
        }
        contact
    }
}

impl Customer {
    pub fn has_phone(&self, wanted: &str) -> bool {
        self.contacts
            .iter()
            .flat_map(|contact| contact.phones)
            .any(|phone| phone.dials(wanted))
    }

    pub fn has_email(&self, wanted: &str) -> bool {
        let mut emails = self.contacts.iter().flat_map(|contact| contact.emails);
        emails.any(|(_, email)| email.eq_ignore_ascii_case(wanted))
    }

    /// With what `$attribute` asks for besides.
    pub fn json(&self, attributes: &[String]) -> Value {
        let contacts =
            std::iter::once(system_contact(self.id)).chain(self.contacts.iter().map(Contact::json));
        let contacts: Vec<Value> = contacts.collect();
        let mut customer = written(&self.id.to_string(), self.name, self.kind, &contacts);
        customer.extend(
            self.additional()
                .into_iter()
                .filter(|(name, _)| asked(attributes, name)),
        );
        customer.into()
    }

    /// The secrets are among them: no result may ever show these.
    fn additional(&self) -> Vec<(String, Value)> {
        let mut additional = vec![
            ("pin".to_owned(), json!("4711")),
            ("secretAnswer".to_owned(), json!("Rover")),
            ("role".to_owned(), json!("buyer")),
            ("level".to_owned(), json!("Gold")),
            ("created".to_owned(), json!(self.created)),
        ];
        additional.extend(
            self.custom
                .iter()
                .map(|(_, name, value)| (format!("custom.{name}"), json!(value))),
        );
        additional
    }
}

fn asked(attributes: &[String], name: &str) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute == "all" || attribute == name)
}

/// The contact that the system makes for itself: no person.
fn system_contact(id: u64) -> Value {
    json!({ "systemCreated": true, "firstName": format!("#*Default CP#{id}*#"), "id": id.to_string() })
}

fn written(id: &str, name: &str, kind: &str, contacts: &[Value]) -> Map<String, Value> {
    let shown = kind[..1].to_uppercase() + &kind[1..];
    let fields = [
        ("id", json!(id)),
        ("customerName", json!(name)),
        ("type", json!({ "value": kind, "displayValue": shown })),
        ("lastModified", json!("2021-10-25T14:53:31.000Z")),
        ("contacts", json!({ "contact": contacts })),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A number of the load range: the id is the number itself.
pub(super) fn load(number: &str) -> Value {
    let phone = json!({
        "type": { "value": "mobile" }, "countryCode": "84", "areaCode": &number[2..5], "phoneNo": &number[5..], "id": "2"
    });
    let contact =
        json!({ "systemCreated": false, "lastName": "Load", "id": "1", "phone": [phone] });
    Value::Object(written(number, "Load", "individual", &[contact]))
}
