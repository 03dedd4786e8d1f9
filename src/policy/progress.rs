//! Whether consuming goes on: connected is not enough, a consumer may be silent for good (from RabbitMQ 4.3 on, say,
//! one that did not hear its cancel).
//!
//! Now and then the queues are looked at. Jobs that lie ready in a queue whose consumer could take more and is given
//! nothing, at [`LOOKS`] looks in a row, are mended by a new session. If that does not help [`MENDS`] times in a row
//! for the same queue, the process itself is the trouble, and `/livez` says so. It is counted in looks, not in time:
//! a process that was frozen has not looked.

use std::collections::BTreeMap;

/// Looks in a row without a delivery, after which the session is ended.
pub const LOOKS: u32 = 6;
/// Sessions in a row that did not help.
pub const MENDS: u32 = 3;

/// What one look saw of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Its name.
    pub queue: &'a str,
    /// Whether its consumer should be given jobs: no reason stands against it, and it holds none.
    pub hungry: bool,
    /// Jobs that lie ready in it.
    pub ready: u32,
    /// Deliveries in this session so far.
    pub given: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Nothing.
    GoOn,
    /// End the session, for this reason.
    Mend(String),
    /// Likewise; and it did not help before.
    GiveUp(String),
}

/// What was seen before, of every queue, over all sessions.
#[derive(Debug, Default)]
pub struct Progress {
    queues: BTreeMap<String, Silence>,
}

#[derive(Debug, Default)]
struct Silence {
    looks: u32,
    mends: u32,
    given: u64,
}

impl Progress {
    /// A session begins.
    pub fn begin(&mut self) {
        for silence in self.queues.values_mut() {
            (silence.looks, silence.given) = (0, 0);
        }
    }

    /// Takes a look at one queue into account.
    pub fn note(&mut self, look: Look<'_>) -> Advice {
        let silence = self.queues.entry(look.queue.to_owned()).or_default();
        if look.given > silence.given {
            *silence = Silence {
                given: look.given,
                ..Silence::default()
            };
        }
        if !look.hungry || look.ready == 0 {
            silence.looks = 0;
            return Advice::GoOn;
        }
        silence.looks += 1;
        if silence.looks <= LOOKS {
            return Advice::GoOn;
        }
        (silence.looks, silence.mends) = (0, silence.mends + 1);
        let Look { queue, ready, .. } = look;
        let reason = format!("{ready} jobs lie ready in {queue}, and its consumer is given none");
        if silence.mends < MENDS {
            Advice::Mend(reason)
        } else {
            Advice::GiveUp(reason)
        }
    }

    /// Whether a queue is still silent that new sessions did not help.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        self.queues.values().any(|silence| silence.mends >= MENDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: Look<'_> = Look {
        queue: "q",
        hungry: true,
        ready: 5,
        given: 0,
    };

    fn looks(progress: &mut Progress, count: u32, look: Look<'_>) -> Vec<Advice> {
        (0..count).map(|_| progress.note(look)).collect()
    }

    #[test]
    fn a_silent_consumer_is_mended_after_some_looks_and_given_up_after_some_sessions() {
        let mut progress = Progress::default();
        for session in 1..=MENDS {
            progress.begin();
            assert!(
                looks(&mut progress, LOOKS, SILENT)
                    .iter()
                    .all(|advice| *advice == Advice::GoOn)
            );
            assert!(!progress.has_given_up());
            match progress.note(SILENT) {
                Advice::Mend(why) => assert!(
                    session < MENDS && why.contains("5 jobs lie ready in q"),
                    "{why}"
                ),
                Advice::GiveUp(_) => assert_eq!(session, MENDS),
                Advice::GoOn => panic!("{LOOKS} looks are enough"),
            }
        }
        assert!(progress.has_given_up());
        progress.begin();
        progress.note(Look { given: 1, ..SILENT });
        assert!(!progress.has_given_up(), "a delivery is a sign of life");
    }

    #[test]
    fn an_empty_queue_a_pause_and_a_consumer_that_holds_jobs_are_no_silence() {
        for well in [
            Look { ready: 0, ..SILENT },
            Look {
                hungry: false,
                ..SILENT
            },
        ] {
            let mut progress = Progress::default();
            assert!(
                looks(&mut progress, 100, well)
                    .iter()
                    .all(|advice| *advice == Advice::GoOn),
                "{well:?}"
            );
            looks(&mut progress, LOOKS, SILENT);
            progress.note(well);
            assert_eq!(
                progress.note(SILENT),
                Advice::GoOn,
                "the looks are no longer in a row"
            );
        }
    }

    #[test]
    fn a_delivery_between_two_looks_is_progress_and_another_queues_is_none() {
        let mut progress = Progress::default();
        for given in 0..100 {
            assert_eq!(progress.note(Look { given, ..SILENT }), Advice::GoOn);
        }
        let mut progress = Progress::default();
        let mut advice = Vec::new();
        for given in 0..=LOOKS {
            progress.note(Look {
                queue: "other",
                given: given.into(),
                ..SILENT
            });
            advice.push(progress.note(SILENT));
        }
        assert!(matches!(advice.last(), Some(Advice::Mend(_))), "{advice:?}");
    }
}
