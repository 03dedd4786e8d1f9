//! `lookup-worker`: consumes customer-lookup jobs from RabbitMQ, asks the provider, publishes the results.
//!
//! The map, in the order in which a job flows.

pub mod config; // settings, one struct a concern

pub mod json; // JSON in: errors that name the place and never the value

pub mod customer; // the one normalised record
pub mod failure; // why there is no answer: the classes of contract §5
pub mod provider; // the closed set of kinds; one file a kind, pure
pub mod result; // the message that answers a job
