//! The rules for telephone numbers as patterns of JSON Schema, for editors and generated classes.
//!
//! They look neither ahead nor behind, which many engines of regular expressions cannot.

use schemars::{Schema, json_schema};

/// What separates digits, as in `separates`.
const SEPARATOR: &str =
    r"[\t-\r ()\-./\u0085\u00a0\u1680\u2000-\u2015\u2028-\u202f\u205f-\u2069\u2212\u3000\ufeff]";

/// Digits with their separators, `COUNT` of them.
fn digits(count: &str) -> String {
    format!(r"^{SEPARATOR}*\+?(?:{SEPARATOR}*[0-9]){count}{SEPARATOR}*$")
}

/// The schema of a telephone number.
pub(super) fn schema() -> Schema {
    let trunk = format!(
        r"^{SEPARATOR}*\+?{SEPARATOR}*(?:0{SEPARATOR}*0{SEPARATOR}*)?[1-9](?:{SEPARATOR}*[0-9]){{0,2}}{SEPARATOR}*\( *0 *\)"
    );
    json_schema!({
        "description": "A telephone number in E.164 or with separators; its digits alone are sent. A trunk zero in \
            brackets behind a country code, `+44 (0)20`, is left out; `00` before a country code is sent as it \
            stands, so write `+` instead. For a provider with `phone_format = \"as_is\"` anything goes that is not \
            blank, whatever is said here.",
        "type": "string",
        "pattern": digits("{1,16}"),
        "not": {"anyOf": [
            {
                "$comment": "More than 15 digits, a trunk zero in brackets aside.",
                "pattern": digits("{16}"),
                "not": {"pattern": trunk},
            },
            {
                "$comment": "A zero in brackets in another place.",
                "pattern": r"[0-9][^+]*\( *0 *\)",
                "not": {"pattern": trunk},
            },
            {
                "$comment": "Nothing behind a zero in brackets.",
                "pattern": r"[0-9][^0-9]*\( *0 *\)[^0-9]*$",
            },
            {
                "$comment": "Two zeros in brackets.",
                "pattern": r"[0-9][^0-9]*\( *0 *\)[^+]*\( *0 *\)",
            },
            {
                "$comment": "A fraction: the number went through a float.",
                "pattern": format!(r"^{SEPARATOR}*\+?[0-9]+\.(?:[0-9]{{1,2}}|0+){SEPARATOR}*$|[0-9]\.0{SEPARATOR}*$"),
            },
            {
                "$comment": "Two numbers in one text.",
                "pattern": r"(?:[0-9][^0-9]*){7}[/\t\n\r](?:[^0-9]*[0-9]){7}",
            },
            {
                "$comment": "Two numbers in one text.",
                "pattern": "[0-9]{7}[^0-9]+[0-9]{7}",
            },
        ]},
    })
}
