//! What an answer came to.

use crate::{
    customer::{Customer, Page},
    failure::{ErrorKind, Failure},
    json::Malformed,
};

/// What an answer came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One customer or more.
    Found(Vec<Customer>, Option<Page>),
    /// The provider says that there is none.
    NotFound(Option<Page>),
    /// Neither.
    Failed(Failure),
}

impl Outcome {
    /// A 200 that is not what the document says.
    #[must_use]
    pub fn unreadable(problem: &Malformed) -> Self {
        let message = format!("HTTP 200, but the body is not as the document says: {problem}");
        Self::Failed(Failure::new(ErrorKind::BadResponse, message))
    }

    /// `Found`, or `NotFound` where there are none.
    #[must_use]
    pub fn of(customers: Vec<Customer>, page: Option<Page>) -> Self {
        if customers.is_empty() {
            Self::NotFound(page)
        } else {
            Self::Found(customers, page)
        }
    }
}
