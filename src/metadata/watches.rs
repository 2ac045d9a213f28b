//! The Kubernetes API → the directory: lists and watches of pods, Services and nodes, for as long as the agent runs.
//!
//! What cannot be had is said and tried again, with growing pauses; names that were known stay known meanwhile.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::{AbortHandle, BoxStream, SelectAll, abortable};

use kube::api::ListParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::book::{Book, Kind};
use super::directory::Directory;
use super::objects::{NodeObject, PodObject, SERVICE_LABEL, ServiceObject, SliceObject};
use super::status::{self, MetadataStatus, Subject};
use crate::span::{Service, Uid};
use crate::time::Timestamp;

/// Objects of one page of a list.
const PAGE: u32 = 500;
/// Events that are put into the directory together.
const TOGETHER: usize = 512;
/// Services whose slices are watched, at most: one watch each.
const MOST_SLICES: usize = 64;
/// How long `--check` waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often what ended long ago is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// A server that says nothing for so long has gone. A watch hears a bookmark a minute.
const SILENCE: Duration = Duration::from_secs(150);

/// Which pods are watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Those of the whole cluster.
    Cluster,
    /// Those of this node only.
    Node,
}

/// What is watched, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Watches {
    /// Which pods.
    pub(super) scope: Scope,
    /// This node's name, when it is known.
    pub(super) node: Option<String>,
    /// Addresses that are this node's.
    pub(super) own_addresses: Vec<IpAddr>,
}

/// What a watch tells.
enum News {
    Pod(Event<PodObject>),
    Service(Event<ServiceObject>),
    Node(Event<NodeObject>),
    Slice(Uid, Event<SliceObject>),
    Failed(Subject, watcher::Error),
}

type Stream = BoxStream<'static, News>;

/// The way to the API server, with the times that keep an agent from waiting for ever.
pub(super) fn client(mut config: kube::Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(Duration::from_secs(10));
    config.write_timeout = Some(Duration::from_secs(30));
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// Lists one pod, one Service and one node.
pub(super) async fn check(client: &Client) -> Result<String, String> {
    let one = ListParams::default().limit(1);
    let (pods, services, nodes) = (Api::<PodObject>::all, Api::<ServiceObject>::all, Api::<NodeObject>::all);
    let (pods, services, nodes) = (pods(client.clone()), services(client.clone()), nodes(client.clone()));
    let asked = async { tokio::join!(pods.list(&one), services.list(&one), nodes.list(&one)) };
    let Ok(answers) = tokio::time::timeout(PATIENCE, asked).await else {
        return Err(format!("the API server does not answer within {PATIENCE:?}"));
    };
    let faults =
        [(Subject::Pods, answers.0.err()), (Subject::Services, answers.1.err()), (Subject::Nodes, answers.2.err())];
    let faults = faults.into_iter().filter_map(|(subject, error)| Some(status::words(subject, &error?)));
    let faults: Vec<String> = faults.collect();
    if faults.is_empty() { Ok("pods, services and nodes may be read".to_owned()) } else { Err(faults.join("; ")) }
}

/// Keeps `directory` as the API says. Must be called within a tokio runtime; never comes back.
pub(super) async fn follow(client: Client, watches: Watches, directory: Arc<Directory>, status: Arc<MetadataStatus>) {
    let mut streams = SelectAll::new();
    let pods = watcher::Config::default().page_size(PAGE);
    let pods = match (watches.scope, &watches.node) {
        (Scope::Node, Some(node)) => pods.fields(&format!("spec.nodeName={node}")),
        _ => pods,
    };
    streams.push(watch(&client, pods, Subject::Pods, News::Pod));
    let all = watcher::Config::default().page_size(PAGE);
    streams.push(watch(&client, all.clone(), Subject::Services, News::Service));
    streams.push(watch(&client, all, Subject::Nodes, News::Node));
    let mut follower =
        Follower { client, book: Book::new(directory, watches.own_addresses), status, slices: HashMap::new() };
    let mut pause = tokio::time::interval(FORGET_EVERY);
    loop {
        let mut ready = streams.ready_chunks(TOGETHER);
        let news = tokio::select! {
            news = ready.next() => news.unwrap_or_default(),
            _ = pause.tick() => Vec::new(),
        };
        streams = ready.into_inner();
        follower.take(news, &mut streams);
    }
}

/// A watch of all objects of a kind that `config` chooses.
fn watch<K>(client: &Client, config: watcher::Config, subject: Subject, news: fn(Event<K>) -> News) -> Stream
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<K>::all(client.clone());
    let events = watcher(api, config).default_backoff();
    events.map(move |event| event.map_or_else(|error| News::Failed(subject, error), news)).boxed()
}

/// Puts news into the book.
struct Follower {
    client: Client,
    book: Book,
    status: Arc<MetadataStatus>,
    /// Services whose slices are watched.
    slices: HashMap<Uid, AbortHandle>,
}

impl Follower {
    fn take(&mut self, news: Vec<News>, streams: &mut SelectAll<Stream>) {
        let now = now();
        let mut services_changed = false;
        for news in news {
            services_changed |= matches!(news, News::Service(_));
            self.one(news, now);
        }
        self.book.publish();
        self.book.forget(now);
        self.status.listed(self.book.sizes());
        if services_changed {
            self.choose_slices(streams);
        }
    }

    fn one(&mut self, news: News, now: Timestamp) {
        let Self { book, status, .. } = self;
        match news {
            News::Failed(subject, error) => status.failed(subject, &error),
            News::Pod(event) => {
                status.event(Subject::Pods, &event);
                match event {
                    Event::Apply(pod) | Event::InitApply(pod) => book.pod(&pod, now),
                    Event::Delete(pod) => book.without_pod(&pod, now),
                    Event::Init => book.begin(Kind::Pods),
                    Event::InitDone => book.complete(Kind::Pods, now),
                }
            }
            News::Service(event) => {
                status.event(Subject::Services, &event);
                match event {
                    Event::Apply(service) | Event::InitApply(service) => book.service(&service, now),
                    Event::Delete(service) => book.without_service(&service, now),
                    Event::Init => book.begin(Kind::Services),
                    Event::InitDone => book.complete(Kind::Services, now),
                }
            }
            News::Node(event) => {
                status.event(Subject::Nodes, &event);
                match event {
                    Event::Apply(node) | Event::InitApply(node) => book.node(&node, now),
                    Event::Delete(node) => book.without_node(&node, now),
                    Event::Init => book.begin(Kind::Nodes),
                    Event::InitDone => book.complete(Kind::Nodes, now),
                }
            }
            News::Slice(service, event) => {
                status.event(Subject::Slices, &event);
                match event {
                    Event::Apply(slice) | Event::InitApply(slice) => book.slice(&slice, now),
                    Event::Delete(slice) => book.without_slice(&slice, now),
                    Event::Init => book.begin_slices(&service),
                    Event::InitDone => book.complete_slices(&service, now),
                }
            }
        }
    }

    /// Watches the slices of the Services without selector, and of no others: there may be as many slices as pods.
    fn choose_slices(&mut self, streams: &mut SelectAll<Stream>) {
        let wanted: HashMap<Uid, Arc<Service>> = self
            .book
            .without_selector()
            .take(MOST_SLICES)
            .map(|service| (service.uid.clone(), service.clone()))
            .collect();
        self.slices.retain(|uid, watch| {
            let stays = wanted.contains_key(uid);
            if !stays {
                watch.abort();
            }
            stays
        });
        for (uid, service) in wanted {
            if self.slices.contains_key(&uid) {
                continue;
            }
            let api = Api::<SliceObject>::namespaced(self.client.clone(), &service.namespace);
            let config = watcher::Config::default().labels(&format!("{SERVICE_LABEL}={}", service.name));
            let of = uid.clone();
            let news = watcher(api, config).default_backoff().map(move |event| match event {
                Ok(event) => News::Slice(of.clone(), event),
                Err(error) => News::Failed(Subject::Slices, error),
            });
            let (news, watch) = abortable(news);
            streams.push(news.boxed());
            self.slices.insert(uid, watch);
        }
    }
}

/// Exchanges are looked up by the time of their packets, which the kernel takes from the same clock.
#[expect(clippy::disallowed_methods, reason = "events have the time at which they come")]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().saturating_add(since)
}
