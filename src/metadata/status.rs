//! What the watches do and what stands in their way → counters, readiness, and lines in the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::core::Status;
use kube::runtime::watcher::{self, Event};

/// Longer than the longest pause between two attempts.
const RECENT: Duration = Duration::from_secs(90);

/// What is watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(usize)]
pub enum Subject {
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// Nodes.
    Nodes,
    /// `EndpointSlice`s of Services without selector.
    Slices,
}

/// How the watches fare, to be read while they run.
#[derive(Debug)]
pub struct MetadataStatus {
    pods: AtomicU64,
    services: AtomicU64,
    nodes: AtomicU64,
    lists: AtomicU64,
    events: AtomicU64,
    errors: AtomicU64,
    subjects: Mutex<[State; Subject::ALL.len()]>,
    complete: tokio::sync::watch::Sender<bool>,
}

/// How the watch of one kind of object fares.
#[derive(Clone, Debug, Default)]
struct State {
    /// Whether its list has been read to the end once.
    complete: bool,
    /// What went wrong last, until something goes well.
    error: Option<String>,
    /// When that was.
    failed: Option<Instant>,
    /// When that was last said.
    said: Option<Instant>,
}

/// What [`MetadataStatus`] said at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MetadataSnapshot {
    /// Pods listed now.
    pub pods: u64,
    /// Services listed now.
    pub services: u64,
    /// Nodes listed now.
    pub nodes: u64,
    /// Lists read to their end: one a kind at the start, more after the API server forgot where a watch was.
    pub lists: u64,
    /// Objects that lists and watches told.
    pub events: u64,
    /// Requests that failed; they are made again.
    pub errors: u64,
}

impl Subject {
    const ALL: [Self; 4] = [Self::Pods, Self::Services, Self::Nodes, Self::Slices];

    const fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Nodes => "nodes",
            Self::Slices => "endpointslices",
        }
    }
}

impl Default for MetadataStatus {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            pods: zero(),
            services: zero(),
            nodes: zero(),
            lists: zero(),
            events: zero(),
            errors: zero(),
            subjects: Mutex::default(),
            complete: tokio::sync::watch::Sender::new(false),
        }
    }
}

impl MetadataStatus {
    /// Why names are missing, when they are: a list could not be read even once.
    pub fn obstacle(&self) -> Option<String> {
        self.words(|state| !state.complete, "names are missing")
    }

    /// Why names may be out of date, when they may: what was listed is not watched now. A watch that goes on says nothing
    /// until something changes; one that does not would have been tried again, and failed again, in the meantime.
    pub fn doubt(&self) -> Option<String> {
        let now = clock();
        let is_recent = |state: &State| state.failed.is_some_and(|failed| now.duration_since(failed) < RECENT);
        self.words(|state| state.complete && is_recent(state), "names may be out of date")
    }

    /// What they say now.
    pub fn snapshot(&self) -> MetadataSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MetadataSnapshot {
            pods: load(&self.pods),
            services: load(&self.services),
            nodes: load(&self.nodes),
            lists: load(&self.lists),
            events: load(&self.events),
            errors: load(&self.errors),
        }
    }

    /// Comes back when pods, Services and nodes have been listed, or after `patience`.
    pub async fn complete(&self, patience: Duration) {
        let mut complete = self.complete.subscribe();
        // Without an answer in time, names come later.
        let _ = tokio::time::timeout(patience, complete.wait_for(|complete| *complete)).await;
    }

    /// There is no way to the API server at all.
    pub(super) fn unreachable(&self, reason: &str) {
        for state in self.lock().iter_mut().take(1) {
            state.error = Some(reason.to_owned());
        }
    }

    pub(super) fn listed(&self, [pods, services, nodes]: [usize; 3]) {
        for (counter, number) in [(&self.pods, pods), (&self.services, services), (&self.nodes, nodes)] {
            counter.store(number as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn event<K>(&self, subject: Subject, event: &Event<K>) {
        match event {
            // Nothing has been heard yet.
            Event::Init => return,
            Event::InitDone => {
                self.lists.fetch_add(1, Ordering::Relaxed);
            }
            Event::Apply(_) | Event::Delete(_) | Event::InitApply(_) => {
                self.events.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut subjects = self.lock();
        let Some(state) = subjects.get_mut(subject as usize) else { return };
        if state.error.take().is_some() {
            tracing::info!("The API server answers again: {}.", subject.name());
        }
        if matches!(event, Event::InitDone) {
            state.complete = true;
            tracing::debug!("All {} are known.", subject.name());
        }
        let all = subjects.iter().take(3).all(|state| state.complete);
        self.complete.send_if_modified(|complete| !std::mem::replace(complete, all) && all);
    }

    pub(super) fn failed(&self, subject: Subject, error: &watcher::Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut subjects = self.lock();
        let Some(state) = subjects.get_mut(subject as usize) else { return };
        // The server has forgotten what was last seen: the list is read again, nothing else happens.
        if let watcher::Error::WatchError(status) = error
            && status.code == 410
        {
            tracing::debug!("The list of {} is read again.", subject.name());
            return;
        }
        let reason = watch_words(subject, error);
        let is_new = state.error.as_ref() != Some(&reason);
        let now = clock();
        state.failed = Some(now);
        if is_new || state.said.is_none_or(|said| now.duration_since(said) > Duration::from_secs(60)) {
            tracing::warn!("Names of Kubernetes: {reason}");
            state.said = Some(now);
        }
        state.error = Some(reason);
    }

    fn words(&self, counts: impl Fn(&State) -> bool, what: &str) -> Option<String> {
        let subjects = self.lock();
        let reasons = subjects.iter().filter(|state| counts(state)).filter_map(|state| state.error.as_deref());
        let reasons: Vec<&str> = reasons.collect();
        (!reasons.is_empty()).then(|| format!("{what}: {}", reasons.join("; ")))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [State; Subject::ALL.len()]> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the log and the probes follow the real clock")]
fn clock() -> Instant {
    Instant::now()
}

/// Of a watch.
fn watch_words(subject: Subject, error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => words(subject, error),
        watcher::Error::WatchError(status) => status_words(subject, status),
        watcher::Error::NoResourceVersion => format!("{} cannot be watched: {error}", subject.name()),
    }
}

/// What is wrong and what to do about it.
pub(super) fn words(subject: Subject, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status_words(subject, status),
        error => format!("{} cannot be read: {}", subject.name(), causes(error)),
    }
}

fn status_words(subject: Subject, status: &Status) -> String {
    let (name, message) = (subject.name(), &status.message);
    match status.code {
        403 => format!("{name} may not be read: give the agent's service account get, list and watch ({message})"),
        401 => format!("{name} may not be read: the API server does not accept the agent's token ({message})"),
        404 => format!("{name} cannot be read: the API server does not know them"),
        code => format!("{name} cannot be read: {code} {message}"),
    }
}

/// An error and what caused it; kube's own words often say only which layer it was.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = deeper.source();
    }
    words
}
