//! What the broker says of one publish.

use lapin::Confirmation;

/// What the broker says of one publish. The client's own word has room for the message that may have come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Ack,
    Returned,
    Nack,
    /// None came in time.
    Silence,
    /// The channel does not confirm.
    None,
}

impl From<Confirmation> for Word {
    fn from(confirmation: Confirmation) -> Self {
        match confirmation {
            Confirmation::Ack(None) => Self::Ack,
            Confirmation::Ack(Some(_)) => Self::Returned,
            Confirmation::Nack(_) => Self::Nack,
            Confirmation::NotRequested => Self::None,
        }
    }
}
