//! A source that says everything it knows at once, and is asked again and again. What it said last is kept whole, so a
//! request finds an answer in memory and waits for nobody; what it does not say any more is gone with the next answer.
//!
//! `refresh_lookups` in `server.rs` calls [`Polled::tick`] every second. One question is under way at a time; after a
//! failure the source is left alone for 1 s, 2 s, up to 15 s (`health.rs`).
use super::directory::Failure;
use super::health::Health;
use crate::clock;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use torhaus_authz::{Name, Timestamp, Why};
use torhaus_config::PolledApi;

/// Somebody whom the source did not name may be new: it is asked again at once, but not more often than this.
const MISS_SPACING: Duration = Duration::from_secs(5);

/// What was said later than this from now was said before the clock was set back.
const AHEAD: Duration = Duration::from_secs(60);

/// Where a whole answer comes from.
#[async_trait]
pub trait Fetch<T>: Send + Sync {
    /// # Errors
    /// There is no answer, or it cannot be used. Half an answer is none.
    async fn fetch(&self, now: Timestamp) -> Result<T, Failure>;
}

pub struct Polled<T> {
    pub health: Health,
    config: PolledApi,
    source: Box<dyn Fetch<T>>,
    said: ArcSwapOption<(Timestamp, Arc<T>)>,
    under_way: AtomicBool,
    /// Milliseconds since the epoch.
    begun: AtomicI64,
    due: AtomicI64,
}

impl<T: Send + Sync + 'static> Polled<T> {
    /// Asks nobody yet.
    pub fn new(name: &Name, config: PolledApi, source: Box<dyn Fetch<T>>) -> Arc<Self> {
        Arc::new(Self {
            health: Health::new(name),
            config,
            source,
            said: ArcSwapOption::empty(),
            under_way: AtomicBool::new(false),
            begun: AtomicI64::new(0),
            due: AtomicI64::new(0),
        })
    }

    /// What it said last.
    ///
    /// # Errors
    /// It never answered, or its last answer is too old; how old one is that comes from the future, nobody knows.
    pub fn get(&self, now: Timestamp) -> Result<Arc<T>, Why> {
        let said = self.said.load();
        let Some(said) = &*said else { return Err(Why::SourceDown) };
        let (at, value) = &**said;
        let is_stale = now.since(*at) > self.config.max_stale || at.since(now) > AHEAD;
        if is_stale { Err(Why::Stale) } else { Ok(value.clone()) }
    }

    /// Somebody asks about what it did not name: it is asked soon, by this request or by a tick, and nobody waits for it.
    pub fn missed(self: &Arc<Self>, now: Timestamp) {
        if self.health.is_failing() {
            return;
        }
        let earliest = self.begun.load(Ordering::Acquire).saturating_add(millis(MISS_SPACING));
        self.due.fetch_min(earliest, Ordering::AcqRel);
        self.tick(now);
    }

    /// Asks if it is time to. Outside of a runtime (the command line) nobody is asked.
    pub fn tick(self: &Arc<Self>, now: Timestamp) {
        let wait = self.due.load(Ordering::Acquire).saturating_sub(now.millis());
        // Longer than it ever waits: a question is under way, or the clock was set back.
        if (1..=millis(self.config.poll)).contains(&wait) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        self.begun.store(now.millis(), Ordering::Release);
        // Until it is known how it ends.
        self.due.store(i64::MAX, Ordering::Release);
        let mut question = Question { of: self.clone(), then_wait: self.config.poll };
        runtime.spawn(async move {
            question.then_wait = question.of.ask(now).await;
            drop(question);
        });
    }

    /// Returns how long to wait until the next question.
    async fn ask(&self, now: Timestamp) -> Duration {
        // A source that trickles its pages is down too.
        let patience = self.config.timeout.saturating_mul(MOST_PAGES_IN_TIME);
        let answer = match tokio::time::timeout(patience, self.source.fetch(now)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Timeout("all of it".to_owned())),
        };
        match answer {
            Ok(value) => {
                // As of when it was asked: what changed meanwhile may be missing.
                self.said.store(Some(Arc::new((now, Arc::new(value)))));
                self.health.answered(clock::now());
            }
            Err(failure) => self.health.failed(&failure.to_string(), clock::now()),
        }
        // Several replicas do not ask at the same moment: up to a tenth sooner.
        self.health.next_poll(self.config.poll).mul_f64(0.9 + 0.1 * rand::random::<f64>())
    }
}

/// Ends when it is dropped, however it came to that.
struct Question<T: Send + Sync + 'static> {
    of: Arc<Polled<T>>,
    then_wait: Duration,
}

impl<T: Send + Sync + 'static> Drop for Question<T> {
    fn drop(&mut self) {
        let next = clock::now().millis().saturating_add(millis(self.then_wait));
        // Sooner if something was missed while it was under way: the answer may be from before that.
        self.of.due.fetch_min(next, Ordering::AcqRel);
        self.of.under_way.store(false, Ordering::Release);
    }
}

/// An answer of many pages may take this many times as long as one of them.
const MOST_PAGES_IN_TIME: u32 = 10;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::sync::Notify;

    /// Answers when it is let, with what it is told.
    #[derive(Default)]
    struct Scripted {
        asked: AtomicI64,
        let_go: Notify,
        says: Mutex<Option<u32>>,
    }

    #[async_trait]
    impl Fetch<u32> for Arc<Scripted> {
        async fn fetch(&self, _: Timestamp) -> Result<u32, Failure> {
            self.asked.fetch_add(1, Ordering::AcqRel);
            self.let_go.notified().await;
            self.says.lock().unwrap().ok_or(Failure::Unreachable("down".to_owned()))
        }
    }

    fn polled() -> (Arc<Scripted>, Arc<Polled<u32>>) {
        let source = Arc::new(Scripted::default());
        let minute = Duration::from_secs(60);
        let config = PolledApi { ca_file: None, poll: minute, max_stale: minute * 5, timeout: minute };
        (source.clone(), Polled::new(&"test".into(), config, Box::new(source)))
    }

    async fn answers(source: &Scripted, polled: &Polled<u32>, says: Option<u32>) {
        *source.says.lock().unwrap() = says;
        source.let_go.notify_one();
        while polled.under_way.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_source_said_counts_until_it_is_too_old_and_a_failure_changes_nothing() {
        let (source, polled) = polled();
        let now = clock::now();
        assert_eq!(polled.get(now), Err(Why::SourceDown));
        polled.tick(now);
        answers(&source, &polled, Some(7)).await;
        assert_eq!(polled.get(now).as_deref(), Ok(&7));
        let later = now.plus(Duration::from_secs(100));
        polled.tick(later);
        answers(&source, &polled, None).await;
        assert_eq!((polled.get(later).as_deref(), polled.health.is_failing()), (Ok(&7), true));
        assert_eq!(polled.get(now.plus(Duration::from_secs(301))), Err(Why::Stale));
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_makes_an_answer_neither_young_nor_the_next_one_late() {
        let (source, polled) = polled();
        let now = clock::now();
        polled.tick(now.plus(Duration::from_secs(7200)));
        answers(&source, &polled, Some(7)).await;
        polled.due.store(now.plus(Duration::from_secs(7260)).millis(), Ordering::Release);
        assert_eq!(polled.get(now), Err(Why::Stale), "nobody knows how old it is");
        polled.tick(now);
        answers(&source, &polled, Some(8)).await;
        assert_eq!(polled.get(now).as_deref(), Ok(&8));
    }

    #[tokio::test]
    async fn of_many_who_miss_something_one_asks_and_not_again_within_five_seconds() {
        let (source, polled) = polled();
        let now = clock::now();
        let asked = || source.asked.load(Ordering::Acquire);
        for _ in 0..100 {
            polled.missed(now);
        }
        answers(&source, &polled, Some(1)).await;
        assert_eq!(asked(), 1);
        for second in 0..5 {
            polled.missed(now.plus(Duration::from_secs(second)));
            tokio::task::yield_now().await;
        }
        assert_eq!(asked(), 1, "asked again too soon");
        // What was missed is asked for by the next tick, not only by the next request.
        polled.tick(now.plus(MISS_SPACING));
        answers(&source, &polled, None).await;
        assert_eq!(asked(), 2);
        // One that fails is left to the ticks.
        polled.missed(now.plus(Duration::from_secs(3)));
        assert!(!polled.under_way.load(Ordering::Acquire));
    }
}
