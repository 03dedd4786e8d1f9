//! What a message bears: the names of exchanges and queues, and of our own headers. Whoever reads or writes messages
//! knows them, with a broker or without.

pub mod header;
pub mod names;
pub mod sighting;

pub use names::{DIRECT_REPLY_TO, Names, next};
pub use sighting::{
    Account, Destination, Question, QueuePosition, ResultSummary, Sighting, Whereabouts,
};
