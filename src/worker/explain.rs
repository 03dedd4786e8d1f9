//! Where a job is that somebody asks for by its id, as far as this worker knows: what it was given, what it works on,
//! and what it answered of late. Never anything of what the job asks.

use std::{fs, process};

use super::{Provider, Worker, load::Held};
use crate::{
    engine::Engine,
    job::{Seen, Stage, id_of},
    lane::Lane,
    message::{Account, QueuePosition, Sighting, Whereabouts},
};

/// More would not fit into anybody's screen; an id may be given to many jobs.
const MOST: usize = 100;

impl Worker {
    /// All that is known here of the jobs of this id.
    pub(super) fn account_of(&self, id: &str) -> Account {
        let worked_on = self.marks.of(id).into_iter();
        let worked_on = worked_on.map(|seen| self.worked_on(&seen));
        let mut sightings: Vec<_> = worked_on.collect();
        for provider in self.providers.values() {
            sightings.extend(self.queued(provider, id));
            sightings.extend(provider.finished.of(id));
        }
        for sighting in &mut sightings {
            let asked = sighting.step.as_ref().unwrap_or(&sighting.provider);
            if sighting.at != Whereabouts::Answered {
                sighting.trouble = self.readiness.trouble_of(asked);
            }
        }
        sightings.truncate(MOST);
        Account {
            worker: myself(),
            sightings,
        }
    }

    fn worked_on(&self, seen: &Seen) -> Sighting {
        let asked = seen.step.as_deref().unwrap_or(&seen.provider);
        let has_quota = |engine: &std::rc::Rc<Engine>| engine.quota.limit().is_some();
        let (at, attempts, until) = match seen.stage {
            Stage::Begun => (Whereabouts::Begun, None, None),
            Stage::Waits if self.engines.get(asked).is_some_and(has_quota) => {
                (Whereabouts::WaitsForQuota, None, None)
            }
            Stage::Waits => (Whereabouts::WaitsForTurn, None, None),
            Stage::Asked(attempts) => (Whereabouts::InFlight, Some(attempts), None),
            Stage::Rests(until) => (Whereabouts::Rests, None, Some(until)),
            Stage::Delayed(until) => (Whereabouts::Delayed, None, Some(until)),
            Stage::Settling => (Whereabouts::Settling, None, None),
        };
        Sighting {
            step: seen.step.as_deref().map(str::to_owned),
            for_ms: seen.lasts.as_millis().try_into().ok(),
            attempts,
            until,
            position: seen.position,
            queue: seen.queue.as_deref().map(str::to_owned),
            ..Sighting::new(at, &seen.provider, seen.lane)
        }
    }

    /// What lies in the provider's inboxes. Who waits there comes behind those that wait for a permit already.
    fn queued(&self, provider: &Provider, id: &str) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        for (inbox, suspects) in [(&provider.inbox, false), (&provider.suspects, true)] {
            let held = inbox.waiting();
            let (_, begun) = self.marks.waiting(provider.name(), Lane::Bulk, 0);
            for lane in Lane::ALL {
                let ahead = begun[lane as usize];
                for number in inbox.places(lane, |job| is_of(job, id)) {
                    let position = QueuePosition {
                        place: ahead + number + 1,
                        of: ahead + held[lane as usize],
                        calls: match lane {
                            Lane::Interactive => 0,
                            Lane::Bulk => begun[0] + held[0],
                        },
                    };
                    let queue = if suspects {
                        self.names.suspects(provider.name(), lane)
                    } else {
                        self.names.jobs(provider.name(), lane)
                    };
                    sightings.push(Sighting {
                        position: Some(position),
                        queue: Some(queue),
                        ..Sighting::new(Whereabouts::Queued, provider.name(), lane)
                    });
                }
            }
        }
        sightings
    }
}

fn is_of(job: &Held, id: &str) -> bool {
    id_of(&job.envelope, &job.body).is_some_and(|of| of == id)
}

/// Machine and process.
fn myself() -> String {
    let pid = process::id();
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) => format!("{}, process {pid}", host.trim_end()),
        Err(_) => format!("process {pid}"),
    }
}
