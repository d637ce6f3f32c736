//! What an error means for the message that it is about.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// What becomes of a message that the library gives back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Is sent again later, with this complaint.
    Again(String),
    /// It, or another message of its batch, will never be taken.
    Refused(String),
    /// Is a dead letter, for this reason.
    Buried(String),
    /// Goes to another producer, since this one cannot go on.
    Orphaned(String),
}

impl Fate {
    /// What an error means for the message that it is about.
    pub(super) fn of(error: &KafkaError, topic_is_fixed: bool) -> Self {
        use RDKafkaErrorCode as Code;
        let words = error
            .rdkafka_error_code()
            .map_or_else(|| error.to_string(), |code| code.to_string());
        match error.rdkafka_error_code() {
            Some(
                Code::Fatal
                | Code::InvalidProducerEpoch
                | Code::ProducerFenced
                | Code::OutOfOrderSequenceNumber,
            ) => Self::Orphaned(words),
            Some(
                Code::MessageSizeTooLarge
                | Code::MessageBatchTooLarge
                | Code::InvalidRecord
                | Code::InvalidTimestamp,
            ) => Self::Refused(words),
            // The name comes from the event: another event may do better.
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::InvalidTopic)
                if !topic_is_fixed =>
            {
                Self::Buried(words)
            }
            _ => Self::Again(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_succeed_later_is_never_given_up() {
        use RDKafkaErrorCode as Code;
        let fate = |code, fixed| match Fate::of(&KafkaError::MessageProduction(code), fixed) {
            Fate::Again(_) => "again",
            Fate::Refused(_) => "refused",
            Fate::Buried(_) => "buried",
            Fate::Orphaned(_) => "orphaned",
        };
        for (code, fixed, expected) in [
            (Code::MessageSizeTooLarge, true, "refused"),
            (Code::UnknownTopic, true, "again"),
            (Code::UnknownTopic, false, "buried"),
            (Code::TopicAuthorizationFailed, false, "again"),
            (Code::MessageTimedOut, true, "again"),
            (Code::QueueFull, true, "again"),
            (Code::Fatal, true, "orphaned"),
            // The producer that had it was given up.
            (Code::PurgeQueue, true, "again"),
        ] {
            assert_eq!(fate(code, fixed), expected, "{code:?}");
        }
    }
}
