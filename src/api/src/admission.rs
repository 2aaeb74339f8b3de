//! Who may compute now: queries and streams wait for a place, each tenant in a line of its own.
//!
//! Nothing waits on a thread. A query that has its place goes to the pool and keeps the place until its work is done, also
//! if its client has gone meanwhile.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntGauge};
use tokio::sync::oneshot;
use trireme_base::{Clock, ErrorKind};
use trireme_model::Tenant;
use trireme_query::{QueryError, Turn, Turns};

/// What is counted of one kind of place.
#[derive(Clone)]
pub(crate) struct AdmissionMetrics {
    /// Who waits.
    pub(crate) waiting: IntGauge,
    /// Places that are taken.
    pub(crate) taken: IntGauge,
    /// Seconds from coming in to having a place.
    pub(crate) wait: Histogram,
    /// Who was refused because too many waited.
    pub(crate) refused: IntCounter,
}

struct Inner {
    turns: Mutex<Turns<oneshot::Sender<Place>>>,
    clock: Arc<dyn Clock>,
    metrics: AdmissionMetrics,
    /// What waits, in the plural, and the setting that bounds it.
    words: (&'static str, &'static str),
}

/// A fixed number of places. Clones share them.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Inner>);

/// A place; dropping it lets the next one in.
pub(crate) struct Place {
    inner: Arc<Inner>,
    tenant: Tenant,
    since: Duration,
}

impl Admission {
    /// `words` are for who is refused: what waits, in the plural, and the setting that bounds it.
    pub(crate) fn new(
        turns: Turns<oneshot::Sender<Place>>,
        clock: Arc<dyn Clock>,
        metrics: AdmissionMetrics,
        words: (&'static str, &'static str),
    ) -> Self {
        Self(Arc::new(Inner {
            turns: Mutex::new(turns),
            clock,
            metrics,
            words,
        }))
    }

    /// Waits for a place, at most `longest`. Dropping the future leaves the line.
    pub(crate) async fn enter(
        &self,
        tenant: &Tenant,
        longest: Duration,
    ) -> Result<Place, QueryError> {
        let inner = &self.0;
        let begun = inner.clock.monotonic();
        let (tx, rx) = oneshot::channel();
        let turn = inner.turns.lock().enter(tenant, || tx);

        inner.show();

        let place = match turn {
            Turn::Now => inner.place(tenant.clone()),
            Turn::Full => {
                inner.metrics.refused.inc();
                return Err(self.full());
            }
            Turn::Wait(number) => {
                let _waiting = Waiting {
                    inner,
                    tenant,
                    number,
                };
                match tokio::time::timeout(longest, rx).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) | Err(_) => return Err(late(inner.words.0)),
                }
            }
        };

        let waited = inner.clock.monotonic().saturating_sub(begun);
        inner.metrics.wait.observe(waited.as_secs_f64());
        Ok(place)
    }

    fn full(&self) -> QueryError {
        let (what, key) = self.0.words;
        let most = self.0.turns.lock().limits().waiting_max;
        let text = format!(
            "too many {what} of this tenant are waiting: {most} may ({key}); try again later"
        );
        QueryError::new(ErrorKind::Unavailable, text)
    }
}

fn late(what: &str) -> QueryError {
    let text = match what {
        "queries" => "query timed out in query queue".to_owned(),
        other => format!("no place became free in time for one more of the {other}"),
    };
    QueryError::new(ErrorKind::Timeout, text)
}

impl Inner {
    fn place(self: &Arc<Self>, tenant: Tenant) -> Place {
        Place {
            inner: Arc::clone(self),
            tenant,
            since: self.clock.monotonic(),
        }
    }

    /// Gives free places to those who wait.
    fn let_in(self: &Arc<Self>) {
        loop {
            let Some((tenant, waker)) = self.turns.lock().admit() else {
                break;
            };
            // Who has just gone gives the place back by dropping it, which comes here again.
            let _ = waker.send(self.place(tenant));
        }
        self.show();
    }

    fn show(&self) {
        let turns = self.turns.lock();
        self.metrics.waiting.set(turns.waiting() as i64);
        self.metrics.taken.set(turns.taken() as i64);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let spent = self.inner.clock.monotonic().saturating_sub(self.since);
        self.inner.turns.lock().leave(&self.tenant, spent);
        self.inner.let_in();
    }
}

/// A place in a line. If the turn has come when this is dropped, the place went into the channel and is dropped with it.
struct Waiting<'a> {
    inner: &'a Arc<Inner>,
    tenant: &'a Tenant,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.inner.turns.lock().give_up(self.tenant, self.number);
        self.inner.show();
    }
}

#[cfg(test)]
mod tests {
    use trireme_base::ManualClock;
    use trireme_query::TurnLimits;

    use super::*;

    fn admission(places: usize, waiting_max: usize) -> Admission {
        let gauge = || IntGauge::new("g", "g").expect("valid");
        let metrics = AdmissionMetrics {
            waiting: gauge(),
            taken: gauge(),
            wait: Histogram::with_opts(prometheus::HistogramOpts::new("h", "h")).expect("valid"),
            refused: IntCounter::new("c", "c").expect("valid"),
        };

        let clock = Arc::new(ManualClock::at(0));
        let words = ("queries", "query.max_queued");
        Admission::new(
            Turns::new(TurnLimits {
                places,
                waiting_max,
            }),
            clock,
            metrics,
            words,
        )
    }

    #[actix_web::test]
    async fn who_waits_gets_the_place_that_is_left() {
        let admission = admission(1, 1);
        let tenant = Tenant::default();
        let minute = Duration::from_secs(60);
        let first = admission
            .enter(&tenant, minute)
            .await
            .expect("a place is free");

        let waiting = admission.clone();
        let second = actix_web::rt::spawn(async move {
            waiting.enter(&Tenant::default(), minute).await.map(drop)
        });

        while admission.0.turns.lock().waiting() == 0 {
            tokio::task::yield_now().await;
        }

        let refused = admission
            .enter(&tenant, minute)
            .await
            .err()
            .expect("the line is full");

        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(
            refused.to_string().contains("query.max_queued"),
            "{refused}"
        );

        drop(first);
        second.await.expect("no panic").expect("its turn came");
        assert_eq!(admission.0.turns.lock().taken(), 0);
    }

    #[actix_web::test]
    async fn who_goes_leaves_neither_a_line_nor_a_place_behind() {
        let admission = admission(1, 5);
        let tenant = Tenant::default();
        let first = admission
            .enter(&tenant, Duration::from_secs(60))
            .await
            .expect("free");
        let late = admission
            .enter(&tenant, Duration::from_millis(1))
            .await
            .err()
            .expect("nobody leaves");

        assert_eq!(late.to_string(), "query timed out in query queue");

        // Gone while the place is on its way to it.
        let mut entering = Box::pin(admission.enter(&tenant, Duration::from_secs(60)));
        assert!(futures::poll!(&mut entering).is_pending());

        drop(first);
        drop(entering);
        let turns = admission.0.turns.lock();

        assert_eq!((turns.taken(), turns.waiting()), (0, 0));
    }
}
