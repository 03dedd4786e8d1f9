//! What is wrong with a configuration: all that can be told at once.

use std::fmt;

use crate::json::Malformed;

/// The configuration cannot be used. Each mistake names the key, what came and what was expected.
#[derive(Debug)]
pub struct ConfigError(Vec<Mistake>);

#[derive(Debug)]
struct Mistake {
    /// The key's full path; empty where it is a source as a whole.
    key: String,
    problem: String,
}

impl ConfigError {
    /// A mistake of a source as a whole.
    pub(super) fn of_source(problem: impl Into<String>) -> Self {
        Self(vec![Mistake {
            key: String::new(),
            problem: problem.into(),
        }])
    }

    pub(crate) fn at(key: &str, problem: impl fmt::Display) -> Self {
        Self(vec![Mistake {
            key: key.to_owned(),
            problem: problem.to_string(),
        }])
    }

    /// Several mistakes of what one key names.
    pub(crate) fn all_at(key: &str, problems: impl Iterator<Item = String>) -> Self {
        let mistake = |problem| Mistake {
            key: key.to_owned(),
            problem,
        };
        Self(problems.map(mistake).collect())
    }

    pub(crate) fn below(path: &str, problem: Malformed) -> Self {
        let Malformed { path, problem } = problem.below(path);
        Self::at(&path, problem)
    }

    /// The key of its first mistake that stands directly in the table at `path`.
    pub(super) fn key_in(&self, path: &str) -> Option<&str> {
        let key = self.0.first()?.key.strip_prefix(path)?.strip_prefix('.')?;
        key.split(['.', '[']).next()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("configuration: ")?;
        if let [one] = &*self.0 {
            return one.fmt(f);
        }
        write!(f, "{} mistakes", self.0.len())?;
        self.0.iter().try_for_each(|one| write!(f, "\n  {one}"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.key.as_str() {
            "" => f.write_str(&self.problem),
            key => write!(f, "`{key}`: {}", self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The mistakes that were found so far.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// The value, where there is no mistake in it.
    pub fn note<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        read.map_err(|error| self.0.extend(error.0)).ok()
    }

    /// One more, of a key.
    pub fn add(&mut self, key: &str, problem: impl fmt::Display) {
        let _ = self.note::<()>(Err(ConfigError::at(key, problem)));
    }

    /// Nothing, where there are none.
    ///
    /// # Errors
    /// All of them.
    pub fn none(self) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(self.0))
        }
    }
}
