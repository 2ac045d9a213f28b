//! What `kubectl get pods,services,nodes -A -o json` (or `yaml`) wrote → the directory, as it was then.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::book::{Book, Kind};
use super::directory::Directory;
use super::objects::{NodeObject, PodObject, ServiceObject, SliceObject};
use crate::time::Timestamp;

/// Names are as old as everything: when the capture was made relative to them is not known.
const ALWAYS: Timestamp = Timestamp::from_nanos(0);

/// Why a file gives no names.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It holds something else.
    #[error("{} holds no objects of Kubernetes, make it with `kubectl get pods,services,nodes -A -o json`: {reason}", path.display())]
    NoObjects {
        /// Which.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
}

/// One document, or one element of a list.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
enum Document {
    Pod(PodObject),
    Service(ServiceObject),
    Node(NodeObject),
    EndpointSlice(SliceObject),
    List {
        items: Vec<Self>,
    },
    PodList {
        items: Vec<PodObject>,
    },
    ServiceList {
        items: Vec<ServiceObject>,
    },
    NodeList {
        items: Vec<NodeObject>,
    },
    EndpointSliceList {
        items: Vec<SliceObject>,
    },
    #[serde(other)]
    Other,
}

/// Reads all that `path` holds into `directory`, and says how many pods, Services and nodes that are.
pub(super) fn read(path: &Path, directory: &Arc<Directory>) -> Result<[usize; 3], OfflineError> {
    let text = fs::read_to_string(path).map_err(|error| OfflineError::Unreadable { path: path.to_owned(), error })?;
    let documents = parse(&text).map_err(|reason| OfflineError::NoObjects { path: path.to_owned(), reason })?;
    let mut book = Book::new(directory.clone(), Vec::new());
    book.begin(Kind::Pods);
    let mut slices = Vec::new();
    for document in documents {
        take(document, &mut book, &mut slices);
    }
    // Their Services must be known.
    for slice in &slices {
        book.slice(slice, ALWAYS);
    }
    book.complete(Kind::Pods, ALWAYS);
    if book.sizes() == [0; 3] {
        return Err(OfflineError::NoObjects { path: path.to_owned(), reason: "there is none in it".to_owned() });
    }
    Ok(book.sizes())
}

fn parse(text: &str) -> Result<Vec<Document>, String> {
    if text.trim_start().starts_with('{') {
        let documents = serde_json::Deserializer::from_str(text).into_iter();
        return documents.collect::<Result<_, _>>().map_err(|error| error.to_string());
    }
    serde_saphyr::from_multiple(text).map_err(|error| error.to_string())
}

fn take(document: Document, book: &mut Book, slices: &mut Vec<SliceObject>) {
    match document {
        Document::Pod(pod) => book.pod(&pod, ALWAYS),
        Document::Service(service) => book.service(&service, ALWAYS),
        Document::Node(node) => book.node(&node, ALWAYS),
        Document::EndpointSlice(slice) => slices.push(slice),
        Document::List { items } => items.into_iter().for_each(|item| take(item, book, slices)),
        Document::PodList { items } => items.iter().for_each(|pod| book.pod(pod, ALWAYS)),
        Document::ServiceList { items } => items.iter().for_each(|service| book.service(service, ALWAYS)),
        Document::NodeList { items } => items.iter().for_each(|node| book.node(node, ALWAYS)),
        Document::EndpointSliceList { items } => slices.extend(items),
        Document::Other => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::span::{Endpoint, EndpointLookup};

    const JSON: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop", "uid": "1"},
         "spec": {"nodeName": "node-a", "containers": [{"name": "app"}]},
         "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "startTime": "2030-01-01T00:00:00Z"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "uid": "2"},
         "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}}]}"#;

    const YAML: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  uid: \"1\"\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n\
        status:\n  podIP: 10.0.0.1\n  phase: Running\n---\nkind: Node\nmetadata:\n  name: node-a\n  uid: \"2\"\nstatus:\n  addresses:\n  - address: 192.0.2.1\n    type: InternalIP\n";

    fn read_text(text: &str) -> (Arc<Directory>, Result<[usize; 3], OfflineError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let directory = Arc::new(Directory::new(None));
        let read = read(file.path(), &directory);
        (directory, read)
    }

    #[test]
    fn json_and_yaml_give_names_that_hold_for_any_time() {
        for text in [JSON, YAML] {
            let (directory, sizes) = read_text(text);
            assert_eq!(sizes.unwrap(), [1, 0, 1]);
            for at in [0, 1_700_000_000_000_000_000, u64::MAX - 1] {
                let at = Timestamp::from_nanos(at);
                let pod = directory.endpoint(SocketAddr::from(([10, 0, 0, 1], 80)), at);
                assert!(matches!(pod, Some(Endpoint::Pod(pod)) if &*pod.name == "web"));
                let node = directory.endpoint(SocketAddr::from(([192, 0, 2, 1], 80)), at);
                assert!(matches!(node, Some(Endpoint::Node(_))));
            }
        }
    }

    #[test]
    fn what_is_something_else_is_refused_with_what_to_do() {
        for text in ["", "hello", "{\"kind\": 1}", "{\"kind\": \"List\", \"items\": []}", "[1, 2]", "kind: Secret\n"] {
            let (_, read) = read_text(text);
            assert!(read.unwrap_err().to_string().contains("kubectl get"), "{text:?}");
        }
    }
}
