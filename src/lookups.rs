//! Several providers asked in one job (contract §11): a job's steps, in the order of the lookup's mode. It knows
//! nothing of the broker, so the worker, `lookup` and `pipe` share it.
//!
//! A step is a lookup of its provider's own engine: it joins equal ones under way, and takes permission, batch, cache
//! and circuit with them. What the steps come to together is decided in `policy::lookup`.

mod answer; // what a lookup's job is answered with
mod ask; // one step
mod customers; // put together
mod plan; // a configured lookup, and what a job asks of its steps
pub mod settings; // `[lookups.NAME]`
mod state; // what was said so far, and travels with a job that waits
mod steps; // the steps in the order of the mode
mod template; // a step's query, with placeholders that the job and the step before fill

use std::rc::Rc;

pub use answer::Answer;
pub use plan::{Plan, Questions};
pub use state::{MOST_BYTES, State};
pub use steps::Conclusion;
pub use template::{Filled, Placeholder, Template};

use crate::engine::Engine;

/// Who is asked under a name.
#[derive(Debug, Clone)]
pub enum Asked {
    /// A provider.
    One(Rc<Engine>),
    /// The providers of a lookup's steps.
    Several(Rc<Plan>),
}
