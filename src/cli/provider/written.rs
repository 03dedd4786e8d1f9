//! Texts, values and keys as TOML writes them.

use serde_json::Value;

/// A text as TOML writes it; JSON's escapes are TOML's, but for the one character that JSON does not escape.
pub fn quoted(text: &str) -> String {
    let plain = !text.contains(['\'', '\n', '\r']) && text.contains('"');
    if plain && !text.chars().any(char::is_control) {
        return format!("'{text}'");
    }
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A value as TOML writes it in one line; null has no place there.
pub fn toml_of(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .filter(|(_, member)| !member.is_null())
                .map(|(name, member)| format!("{} = {}", key(name), toml_of(member)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// A key as TOML writes it.
fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if bare {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}
