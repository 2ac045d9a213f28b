//! 100,000 pods of 5,000 workloads → what they cost in memory, how long until all are known, and the time of a lookup.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that fails says so, and prints what it measured")]
#![allow(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use network_agent::metadata::{MetadataConfig, MetadataSource, Names, Scope};
use network_agent::span::{Endpoint, EndpointLookup};
use network_agent::time::Timestamp;

const PODS: usize = 100_000;
const OWNERS: usize = 5_000;
const NODES: usize = 1_000;

/// Counts the bytes that are held, as the system's allocator rounds them.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(rounded(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(rounded(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// glibc adds eight bytes and takes multiples of sixteen, at least 32.
fn rounded(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a80_0000 + u32::try_from(number).unwrap())
}

/// As `kubectl get pods,services,nodes -A -o json` writes it, shortened by what is passed over.
fn objects() -> String {
    let mut text = String::from("{\"kind\":\"List\",\"items\":[");
    for node in 0..NODES {
        let _ = write!(
            text,
            r#"{{"kind":"Node","metadata":{{"name":"ip-10-0-{node}.internal","uid":"{:08x}-0000-4000-8000-000000000001"}},
            "status":{{"addresses":[{{"type":"InternalIP","address":"172.16.{}.{}"}}]}}}},"#,
            node,
            node / 250,
            node % 250
        );
    }
    for owner in 0..OWNERS {
        let _ = write!(
            text,
            r#"{{"kind":"Service","metadata":{{"name":"workload-{owner}","namespace":"team-{}",
            "uid":"{owner:08x}-0000-4000-8000-000000000002"}},"spec":{{"clusterIPs":["10.96.{}.{}"],
            "selector":{{"app":"workload-{owner}"}},"ports":[{{"port":80,"targetPort":8080}}]}}}},"#,
            owner % 200,
            owner / 250,
            owner % 250
        );
    }
    for number in 0..PODS {
        let owner = number % OWNERS;
        let address = address(number);
        let _ = write!(
            text,
            r#"{{"kind":"Pod","metadata":{{"name":"workload-{owner}-5d4f9c8b77-{number:05}","namespace":"team-{}",
            "uid":"{number:08x}-1234-4abc-8def-0123456789ab","creationTimestamp":"2026-01-01T00:00:00Z",
            "labels":{{"app":"workload-{owner}","pod-template-hash":"5d4f9c8b77","app.kubernetes.io/part-of":"shop"}},
            "ownerReferences":[{{"kind":"ReplicaSet","name":"workload-{owner}-5d4f9c8b77","uid":"1","apiVersion":"apps/v1",
            "controller":true}}]}},"spec":{{"nodeName":"ip-10-0-{}.internal","containers":[{{"name":"app",
            "image":"registry.example/team/workload-{owner}:1.2.3","ports":[{{"name":"http","containerPort":8080}}],
            "env":[{{"name":"OTEL_SERVICE_NAME","value":"workload-{owner}"}}]}}]}},"status":{{"phase":"Running",
            "podIP":"{address}","podIPs":[{{"ip":"{address}"}}],"startTime":"2026-01-01T00:00:01Z"}}}},"#,
            owner % 200,
            number % NODES
        );
    }
    text.pop();
    text + "]}"
}

fn lookup() -> Arc<dyn EndpointLookup + Send + Sync> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), objects()).unwrap();
    let config = MetadataConfig {
        source: MetadataSource::File(file.path().to_owned()),
        scope: Scope::Cluster,
        node: None,
        own_addresses: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let before = HELD.load(Ordering::Relaxed);
    #[expect(clippy::disallowed_methods, reason = "time is what is measured")]
    let began = Instant::now();
    let lookup = runtime.block_on(Names::open(&config)).unwrap().lookup();
    let took = began.elapsed();
    let held = HELD.load(Ordering::Relaxed) - before;
    println!(
        "{PODS} pods, {OWNERS} services, {NODES} nodes: {} MB, {} bytes a pod; read and known in {took:.2?}",
        held / 1_000_000,
        held / PODS
    );
    lookup
}

fn metadata(criterion: &mut Criterion) {
    let lookup = lookup();
    let now = Timestamp::from_nanos(1_800_000_000_000_000_000);
    // In no order that a cache would know.
    let sockets: Vec<SocketAddr> =
        (0..PODS).map(|number| SocketAddr::from((address(number * 7919 % PODS), 8080))).collect();
    let mut group = criterion.benchmark_group("metadata");
    let mut next = sockets.iter().cycle();
    group.bench_function("a pod by its address, any of them", |bencher| {
        bencher.iter(|| lookup.endpoint(*next.next().unwrap(), now));
    });
    let mut next = sockets.iter().take(64).cycle();
    group.bench_function("a pod by its address, one of a node's", |bencher| {
        bencher.iter(|| lookup.endpoint(*next.next().unwrap(), now));
    });
    let Some(Endpoint::Pod(pod)) = lookup.endpoint((address(0), 8080).into(), now) else { return };
    group.bench_function("the service of a pod", |bencher| bencher.iter(|| lookup.service_of(&pod, Some(8080), now)));
    let stranger = SocketAddr::from(([203, 0, 113, 9], 80));
    group.bench_function("an address that nobody knows", |bencher| bencher.iter(|| lookup.endpoint(stranger, now)));
    group.finish();
}

criterion_group!(benches, metadata);
criterion_main!(benches);
