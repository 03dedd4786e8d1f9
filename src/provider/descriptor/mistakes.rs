//! Everything that is wrong with a descriptor, each by its key, all told at once.

use std::fmt;

use crate::json::Malformed;

/// What is wrong with a file. Empty where nothing is.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Malformed>);

impl Mistakes {
    /// One more.
    pub fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.0.push(Malformed::at(key, problem));
    }

    /// The value, or none and one more mistake.
    pub fn note<T>(&mut self, key: &str, checked: Result<T, impl Into<String>>) -> Option<T> {
        checked.map_err(|problem| self.add(key, problem)).ok()
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One line each.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (number, mistake) in self.0.iter().enumerate() {
            let line_break = if number == 0 { "" } else { "\n" };
            write!(f, "{line_break}{mistake}")?;
        }
        Ok(())
    }
}
