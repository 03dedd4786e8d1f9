//! JSONPath (RFC 9535), compiled once. The only file that names the library.

use std::{fmt, sync::LazyLock};

use regex::Regex;
use serde_json::Value;
use serde_json_path::JsonPath;

/// A path into an answer.
#[derive(Debug, Clone)]
pub struct Path(JsonPath);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Equal are paths that are written alike, but for the two forms of a name.
impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        static NAME: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r#"\[['"]([A-Za-z_]\w*)['"]\]"#).ok());
        let written = |path: &Self| {
            let text = path.0.to_string();
            NAME.as_ref().map_or(text.clone(), |name| {
                name.replace_all(&text, ".$1").into_owned()
            })
        };
        written(self) == written(other)
    }
}

impl Path {
    /// Compiles a path.
    ///
    /// # Errors
    /// What is wrong with it, and at which character.
    pub fn parse(text: &str) -> Result<Self, String> {
        JsonPath::parse(text).map(Self).map_err(|error| {
            let at = error.position() + 1;
            let problem = if text.starts_with('$') {
                error.message()
            } else {
                "no `$`, which stands for the whole,"
            };
            format!("expected a JSONPath such as \"$.results[*]\": {problem} at character {at} of {text:?}")
        })
    }

    /// Whether it leads to the whole answer.
    pub fn is_root(&self) -> bool {
        self.0.to_string() == "$"
    }

    /// The path of the list whose elements it leads to, `$.results` of `$.results[*]`; none where it is another kind.
    pub fn list(&self) -> Option<Self> {
        let text = self.0.to_string();
        Self::parse(text.strip_suffix("[*]")?).ok()
    }

    /// The nodes that it leads to, in the order of the answer.
    pub fn nodes<'a>(&self, value: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.0.query(value).all().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(path: &str, json: &str) -> Vec<String> {
        let value = serde_json::from_str(json).unwrap();
        let path = Path::parse(path).unwrap();
        path.nodes(&value).map(Value::to_string).collect()
    }

    #[test]
    fn a_bad_path_is_told_with_its_position() {
        let problem = Path::parse("$.a[").unwrap_err();
        assert!(problem.contains("at character 4 of \"$.a[\""), "{problem}");
    }

    #[test]
    fn numbers_are_compared_by_value() {
        let json = r#"[{"id":1,"n":10},{"id":2,"n":9.5}]"#;
        assert_eq!(nodes("$[?@.n < 9.75].id", json), ["2"]);
        assert_eq!(nodes("$[?@.n == 10.0].id", json), ["1"]);
    }
}
