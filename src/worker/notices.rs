//! What workers hear of each other through the broker: a ledger has room, a provider is to be left alone.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::task::spawn_local;

use super::{Worker, counts, gauges, remarks};
use crate::{
    broker::{BrokerError, Notice, Notices, PauseNotice, Session},
    lane::Lane,
    message::{Names, next},
    policy::pause::By,
    quota::is_common,
};

/// How often a worker that did not hear a pause looks whether it lasts.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// For so long it leaves the provider alone then; some looks may be late.
const UNTIL_NEXT_LOOK: Duration = Duration::from_millis(2500);

/// Listens and tells as long as the session goes on. Pauses from before are known when this returns.
///
/// # Errors
/// Where the broker does not answer in time.
pub async fn begin(worker: &Rc<Worker>, session: &Rc<Session>) -> Result<(), BrokerError> {
    let providers: Vec<_> = worker.engines.keys().cloned().collect();
    let ledgers: Vec<_> = providers
        .iter()
        .flat_map(|name| worker.ledgers(name))
        .map(|(ledger, _)| ledger)
        .collect();
    // First listen, then look: what is said in between is heard.
    let notices = session.notices(&worker.names, &ledgers, &providers).await?;
    let hears = notices.is_some();
    if let Some(notices) = notices {
        let listening = listen(Rc::clone(worker), Rc::clone(session), notices);
        spawn(session, listening);
    }
    spawn(
        session,
        gauges::watch(Rc::clone(worker), Rc::clone(session)),
    );
    spawn(session, remarks::show(Rc::clone(worker)));
    for (name, _, _) in worker.common_quotas() {
        let telling = counts::tell(Rc::clone(worker), name.clone(), Rc::clone(session));
        spawn(session, telling);
    }
    // Together: each may have to be waited for in vain.
    let looks = providers
        .into_iter()
        .map(|name| begin_with(worker, session, name, hears));
    try_join_all(looks).await?;
    Ok(())
}

/// Takes over the pauses of one provider, and tells of its new ones.
async fn begin_with(
    worker: &Rc<Worker>,
    session: &Rc<Session>,
    name: String,
    hears: bool,
) -> Result<(), BrokerError> {
    let lying = if worker.pause_lies(&name, session).await? {
        worker.read_pauses(&name, session).await?
    } else {
        Vec::new()
    };
    if !lying.is_empty() || !hears {
        let (worker, session_) = (Rc::clone(worker), Rc::clone(session));
        spawn(
            session,
            follow(worker, name.clone(), session_, hears, lying),
        );
    }
    spawn(session, tell(Rc::clone(worker), name, Rc::clone(session)));
    Ok(())
}

/// As long as the session goes on.
fn spawn(session: &Rc<Session>, task: impl Future<Output = Result<(), BrokerError>> + 'static) {
    let session = Rc::clone(session);
    spawn_local(async move {
        tokio::select! {
            _ = session.health.ended() => {}
            Err(error) = task => session.health.fail(error.to_string()),
        }
    });
}

async fn listen(
    worker: Rc<Worker>,
    session: Rc<Session>,
    mut notices: Notices,
) -> Result<(), BrokerError> {
    while let Some(notice) = notices.next().await {
        match notice {
            Notice::Room(queue) => worker.has_room(&queue),
            Notice::Pause(name, pause) => worker.take_over(&name, pause.by, pause.wait),
            Notice::Count(notice) => worker.hear_count(&notice),
            Notice::Question(asked) => {
                let (worker, session) = (Rc::clone(&worker), Rc::clone(&session));
                spawn_local(async move {
                    let account = worker.account_of(&asked.question.job);
                    session.tell_where(&asked, &account).await;
                });
            }
            Notice::Resume(name) => {
                if let Some(engine) = worker.engines.get(&name) {
                    tracing::info!(
                        provider = name,
                        "somebody says that it is to be asked again"
                    );
                    engine.circuit.lift();
                }
            }
        }
    }
    Err(BrokerError::Lost("the consumer of notices ended".into()))
}

/// Leaves the provider alone as long as a message says so, and no longer. Whoever hears no notices goes on looking.
async fn follow(
    worker: Rc<Worker>,
    name: String,
    session: Rc<Session>,
    hears: bool,
    mut lying: Vec<PauseNotice>,
) -> Result<(), BrokerError> {
    let circuit = &worker.engines[&name].circuit;
    let mut gone = None;
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if worker.pause_lies(&name, &session).await? {
            if lying.is_empty() {
                lying = worker.read_pauses(&name, &session).await?;
            }
            worker.hold_on(&name, &lying);
            gone = None;
            continue;
        }
        // Whoever reads what lies there has it in hand for a moment: one look is none.
        let now = circuit.paused();
        if gone.replace(now) == Some(now) {
            circuit.forget_told();
            lying.clear();
            if hears {
                return Ok(());
            }
        }
    }
}

/// Lets other workers know what this one was asked for, and shows it.
async fn tell(worker: Rc<Worker>, name: String, session: Rc<Session>) -> Result<(), BrokerError> {
    let engine = &worker.engines[&name];
    loop {
        engine
            .metrics
            .paused
            .set(engine.circuit.paused().is_some().into());
        if let Some(until) = engine.circuit.untold() {
            let wait = until.saturating_duration_since(Instant::now());
            session
                .tell_pause(&worker.names, &name, By::Provider, Some(wait))
                .await?;
            engine.circuit.told(until);
            continue;
        }
        tokio::select! {
            () = engine.circuit.changed() => {}
            () = engine.circuit.resumed(), if engine.circuit.paused().is_some() => {}
        }
    }
}

impl Worker {
    /// The ledgers of a provider's common quota, by their queues' names, each with the lanes that wait for it.
    fn ledgers(&self, name: &str) -> Vec<(String, &'static [Lane])> {
        let settings = &self.engines[name].settings;
        let is_counted = settings.quota.as_ref().is_some_and(is_common);
        let longer = settings.longer_quotas.iter();
        let longer = longer.map(|limit| Names::longer(name, limit.per));
        let of = self.settings.amqp.quota_ledgers;
        let counted = std::iter::once(name.to_owned())
            .chain(longer)
            .flat_map(|owner| Names::parts(&owner, of))
            .flat_map(|owner| {
                [
                    (self.names.quota(&owner), &Lane::ALL[..]),
                    (self.names.quota_share(&owner, Lane::Bulk), &[Lane::Bulk]),
                ]
            });
        let parts = Names::parts(name, of).into_iter();
        let spread = parts.map(|owner| (self.names.quota_spread(&owner), &[Lane::Bulk][..]));
        let ledgers = counted.chain(spread);
        let of_both = |(ledger, lanes): (String, _)| [(next(&ledger), lanes), (ledger, lanes)];
        ledgers.filter(|_| is_counted).flat_map(of_both).collect()
    }

    fn has_room(&self, queue: &str) {
        for (name, engine) in &self.engines {
            if let Some((_, lanes)) = self
                .ledgers(name)
                .into_iter()
                .find(|(ledger, _)| ledger == queue)
            {
                engine.quota.has_room(lanes);
            }
        }
    }

    /// What another said of a provider counts here too. By the provider's own word it is not left alone for longer than
    /// `max_pause`, whoever heard it.
    fn take_over(&self, name: &str, by: By, wait: Option<Duration>) {
        let Some(engine) = self.engines.get(name) else {
            return;
        };
        let now = Instant::now();
        match by {
            By::Provider => {
                let most = engine.settings.max_pause;
                let wait = wait.map_or(most, |wait| wait.min(most));
                engine.circuit.pause(wait, true, now);
            }
            By::Hand => engine.circuit.pause_by_hand(wait, now),
        }
    }

    /// Whether a pause lies there that was told before and lasts.
    async fn pause_lies(&self, name: &str, session: &Rc<Session>) -> Result<bool, BrokerError> {
        let depth = session.depth(&self.names.pause(name)).await?;
        Ok(depth.is_some_and(|messages| messages > 0))
    }

    /// Takes over what lies there.
    async fn read_pauses(
        &self,
        name: &str,
        session: &Rc<Session>,
    ) -> Result<Vec<PauseNotice>, BrokerError> {
        let lying = match session.lying_pauses(&self.names, name).await {
            // Without the right to read there, it is known only that something lies there.
            Err(_) if session.health.is_well() => vec![PauseNotice {
                by: By::Provider,
                wait: Some(UNTIL_NEXT_LOOK),
                told: None,
            }],
            read => read?,
        };
        for pause in &lying {
            self.take_over(name, pause.by, pause.left(Timestamp::now()));
        }
        self.hold_on(name, &lying);
        Ok(lying)
    }

    /// By its clock a pause may be over that still lies there: then it lasts until the next look. One that the provider
    /// asked for before `max_pause` bounded it lasts no longer than that.
    fn hold_on(&self, name: &str, lying: &[PauseNotice]) {
        let (engine, now) = (&self.engines[name], Instant::now());
        let soon = now + UNTIL_NEXT_LOOK;
        let paused = engine.circuit.paused();
        if paused.is_some_and(|pause| pause.until.is_none_or(|until| until > soon)) {
            return;
        }
        let by_hand = lying.iter().any(|pause| pause.by == By::Hand);
        let bounded = lying.iter().any(|pause| {
            pause
                .wait
                .is_some_and(|wait| wait <= engine.settings.max_pause)
        });
        if by_hand {
            engine.circuit.pause_by_hand(Some(UNTIL_NEXT_LOOK), now);
        } else if bounded {
            engine.circuit.pause(UNTIL_NEXT_LOOK, true, now);
        }
    }
}
