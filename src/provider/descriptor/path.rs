//! JSONPath (RFC 9535), compiled once. The only file that names the library.

use serde_json::Value;
use serde_json_path::JsonPath;

/// A path into an answer.
#[derive(Debug, Clone)]
pub struct Path(JsonPath);

impl Path {
    /// Compiles a path.
    ///
    /// # Errors
    /// What is wrong with it, and at which character.
    pub fn parse(text: &str) -> Result<Self, String> {
        JsonPath::parse(text).map(Self).map_err(|error| {
            let at = error.position() + 1;
            let problem = error.message();
            format!("expected a JSONPath such as \"$.results[*]\": {problem} at character {at} of {text:?}")
        })
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
