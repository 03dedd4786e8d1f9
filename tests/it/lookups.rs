//! Several providers asked in one job: `docs/lookups.md`, held.

mod configuration; // every mistake is told at start
mod modes; // what the steps' words come to, in every mode
mod operations; // spans, the page, the commands
mod providers; // some that answer as their name says
pub mod worker; // over the broker

pub use providers::Cast;
