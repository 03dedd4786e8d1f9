//! Where the common quotas are counted, from one session to the next.

use std::rc::Rc;

use super::{Worker, renewal};
use crate::{
    broker::{BrokerError, QuotaLedgers, Session, asks},
    config::{AmqpSettings, QuotaLimit},
    message::Names,
    policy::quota::Terms,
    quota,
};

impl Worker {
    /// Where the common quotas are counted: at this session's broker.
    pub(super) async fn count_quotas_at(
        self: &Rc<Self>,
        session: &Rc<Session>,
    ) -> Result<(), BrokerError> {
        let already = self.metrics.connects.get() > 0;
        // What there is counts from the start on, where it is from the next session on.
        let AmqpSettings {
            prefix,
            declare,
            quota_ledgers,
            ..
        } = self.settings.amqp.clone();
        let amqp = AmqpSettings {
            prefix,
            declare,
            quota_ledgers,
            ..self.broker.borrow().clone()
        };
        asks::each(self.common_quotas(), |counted| {
            self.count_quota_at(session, &amqp, counted, already)
        })
        .await?;
        Ok(())
    }

    async fn count_quota_at(
        self: &Rc<Self>,
        session: &Rc<Session>,
        amqp: &AmqpSettings,
        (name, quota, limit): (&String, &quota::Quota, QuotaLimit),
        already: bool,
    ) -> Result<(), BrokerError> {
        let terms = Terms::of(&limit);
        let ledger = QuotaLedgers::open(session, amqp, name, terms, already).await?;
        let longer = &self.engines[name].settings.longer_quotas;
        let longer = asks::each(longer, async |limit| {
            let (owner, terms) = (Names::longer(name, limit.per), Terms::of_longer(limit));
            let ledger = QuotaLedgers::open(session, amqp, &owner, terms, already).await?;
            Ok(ledger as Rc<dyn quota::Ledger>)
        })
        .await?;
        quota.count_at(Some(Rc::clone(&ledger) as Rc<dyn quota::Ledger>), longer);
        self.ledgers
            .borrow_mut()
            .insert(name.clone(), Rc::clone(&ledger));
        if let Some(before) = quota.before() {
            renewal::retire(self, session, name, ledger, before);
        }
        Ok(())
    }

    pub(super) fn count_quotas_nowhere(&self) {
        self.ledgers.borrow_mut().clear();
        for (_, quota, _) in self.common_quotas() {
            quota.count_at(None, Vec::new());
        }
    }

    pub(super) fn common_quotas(
        &self,
    ) -> impl Iterator<Item = (&String, &quota::Quota, QuotaLimit)> {
        self.engines.iter().filter_map(|(name, engine)| {
            let quota = &engine.quota;
            let limit = quota.limit().filter(quota::is_common)?;
            Some((name, quota, limit))
        })
    }
}
