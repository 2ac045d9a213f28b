//! With a spool: real files, and time that passes by itself.

use super::*;

/// Room for `batches` of two spans in memory, and a spool of its own.
fn settings(folder: &tempfile::TempDir, batches: usize) -> Settings {
    let spool = SpoolConfig { directory: folder.path().join("spool"), max_bytes: 1 << 20 };
    Settings { queue_bytes: batches * batch_bytes(2), spool: Some(spool), ..Settings::default() }
}

/// Gives `count` spans in batches of two, whose first span is one of a kind: its place is in the request.
async fn give_batches(bench: &Bench, count: usize) {
    for _ in 0..count {
        bench.give_spans(2).await;
    }
}

/// Until the counters are as `wanted`.
async fn until(bench: &Bench, wanted: impl Fn(&ExportSnapshot) -> bool) -> ExportSnapshot {
    for _ in 0..2000 {
        let counted = bench.counters.snapshot();
        if wanted(&counted) {
            return counted;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", bench.counters.snapshot());
}

#[tokio::test]
async fn what_memory_cannot_hold_waits_on_the_disk_and_all_of_it_goes_out() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start([Answer::Accept], &Settings { permits: 0, ..settings(&folder, 3) });
    give_batches(&bench, 50).await;
    let counted = until(&bench, |counted| counted.spans_spooled > 90).await;
    assert_eq!((counted.exchanges_received, counted.dropped_total()), (100, 0));
    assert!(counted.waiting_bytes <= 4 * batch_bytes(2) as u64, "{counted:?}");
    bench.permits.add_permits(1000);
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((counted.spans_exported, counted.dropped_total(), counted.spans_spooled), (100, 0, 0));
    assert_eq!((counted.retries, counted.spool_bytes), (0, 0));
}

#[tokio::test]
async fn an_outage_costs_no_span_and_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let outage = vec![Answer::Retry(Some(Duration::from_millis(300))); 2];
    let mut bench = Bench::start([outage, vec![Answer::Accept]].concat(), &settings(&folder, 2));
    // The bytes of a batch say how many came before: one span more in each, and then fewer.
    let sizes: Vec<usize> = (0..40).map(|number| 1 + number % 2).collect();
    for size in &sizes {
        bench.give_spans(*size).await;
    }
    let spans: u64 = sizes.iter().sum::<usize>() as u64;
    let counters = bench.counters.clone();
    let mut calls = Vec::new();
    while counters.snapshot().spans_exported < spans - 1 {
        let (_, batch) = tokio::time::timeout(10 * SECOND, bench.calls.recv()).await.unwrap().unwrap();
        calls.push(batch.attempts);
    }
    assert_eq!(&calls[..3], [0, 1, 2], "the first batch is sent until it is taken");
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((counted.spans_exported, counted.dropped_total()), (spans, 0));
    assert!(counted.spans_stored > 0);
}

#[tokio::test]
async fn what_did_not_go_out_in_time_is_sent_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start([Answer::Retry(None)], &settings(&folder, 3));
    give_batches(&bench, 20).await;
    bench.give(vec![Item::Sampled]).await;
    until(&bench, |counted| counted.exchanges_received == 41).await;
    bench.stop.send(true).unwrap();
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "nothing is lost: {result:?}");
    assert_eq!((counted.spans_spooled, counted.spans_exported, counted.dropped_total()), (41, 0, 0));

    let next = Bench::start([Answer::Accept], &settings(&folder, 3));
    next.give_spans(2).await;
    let (result, counted) = next.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((counted.spans_recovered, counted.spans_exported), (41, 43));
    assert_eq!((counted.spans_spooled, counted.dropped_total()), (0, 0));
}

#[tokio::test]
async fn what_the_source_holds_back_at_the_end_is_left_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start([Answer::Retry(None)], &settings(&folder, 3));
    bench.hold([Item::Sampled; 3]);
    bench.give_spans(2).await;
    bench.calls.recv().await.unwrap();
    bench.stop.send(true).unwrap();
    let (result, counted) = bench.wait().await;
    assert!(result.is_ok(), "nothing is lost: {result:?}");
    assert_eq!((counted.exchanges_received, counted.spans_spooled, counted.dropped_total()), (5, 5, 0));
}

#[tokio::test]
async fn at_the_end_exchanges_of_no_span_or_two_are_counted_as_always() {
    for last in [Item::SampledOut, Item::Both] {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::start([Answer::Retry(None)], &Settings { max_spans: 20, ..settings(&folder, 30) });
        bench.give_spans(20).await;
        bench.calls.recv().await.unwrap();
        // No batch is closed by these.
        bench.hold([Item::Sampled, last]);
        bench.stop.send(true).unwrap();
        let (_, counted) = bench.wait().await;
        let (none, second) = if matches!(last, Item::Both) { (0, 1) } else { (1, 0) };
        assert_eq!((counted.exchanges_received, counted.spans_sampled_out, counted.spans_second), (22, none, second));
        assert_eq!(counted.spans_stored, 22 - none + second);
    }
}

#[tokio::test]
async fn over_its_bound_the_spool_drops_the_oldest_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start([Answer::Accept], &Settings { max_spans: 200, permits: 0, ..settings(&folder, 300) });
    for _ in 0..60 {
        bench.give_spans(200).await;
    }
    until(&bench, |counted| counted.exchanges_received == 12_000 && counted.dropped(DropReason::Spool) > 0).await;
    bench.permits.add_permits(1000);
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(counted.dropped_total(), counted.dropped(DropReason::Spool));
    assert_eq!(counted.spans_exported + counted.dropped_total(), 12_000);
}

#[tokio::test]
async fn a_disk_that_fails_leaves_memory_as_it_was_without() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { permits: 0, ..settings(&folder, 3) };
    let bench = Bench::start([Answer::Accept], &settings);
    // The folder is gone: no file can be made there.
    std::fs::remove_dir_all(&settings.spool.as_ref().unwrap().directory).unwrap();
    give_batches(&bench, 20).await;
    until(&bench, |counted| counted.dropped(DropReason::QueueFull) > 0).await;
    bench.permits.add_permits(1000);
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(counted.spans_exported + counted.dropped(DropReason::QueueFull), 40);
    assert!(counted.spans_exported >= 4, "what fits memory goes out: {counted:?}");
}

#[tokio::test]
async fn a_disk_that_fails_keeps_what_is_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { queue_spans: Some(6), permits: 0, ..settings(&folder, 3) };
    let directory = settings.spool.clone().unwrap().directory;
    let bench = Bench::start([Answer::Retry(Some(Duration::from_secs(2))), Answer::Accept], &settings);
    give_batches(&bench, 50).await;
    let before = until(&bench, |counted| counted.spans_spooled > 90).await;
    // No new file can be made, those that are there can be read.
    let moved = folder.path().join("moved");
    std::fs::rename(&directory, &moved).unwrap();
    bench.permits.add_permits(1000);
    give_batches(&bench, 50).await;
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(counted.spans_exported + counted.dropped(DropReason::QueueFull), 200);
    assert!(counted.spans_exported >= before.spans_spooled, "{counted:?}");
}

#[tokio::test]
async fn what_lost_its_place_on_the_disk_while_it_was_in_memory_is_written_again_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_spans: 200, ..settings(&folder, 300) };
    let script = [Answer::Retry(Some(Duration::from_millis(50)))];
    let bench = Bench::start(script, &settings);
    for _ in 0..60 {
        bench.give_spans(200).await;
    }
    until(&bench, |counted| counted.exchanges_received == 12_000 && counted.dropped(DropReason::Spool) > 0).await;
    bench.stop.send(true).unwrap();
    let (_, counted) = bench.end().await;
    assert_eq!(counted.spans_spooled + counted.dropped_total(), 12_000);
    let next = Bench::start([Answer::Accept], &settings);
    let (_, after) = next.end().await;
    assert_eq!((after.spans_recovered, after.spans_exported), (counted.spans_spooled, counted.spans_spooled));
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts_from_the_disk_too() {
    let folder = tempfile::tempdir().unwrap();
    let script = [vec![Answer::Retry(None)], vec![Answer::TooLarge; 2], vec![Answer::Accept]].concat();
    let bench = Bench::start(script, &Settings { max_spans: 4, ..settings(&folder, 3) });
    for _ in 0..30 {
        bench.give_spans(4).await;
    }
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((counted.spans_exported, counted.dropped_total(), counted.spans_spooled), (120, 0, 0));
}

#[tokio::test]
async fn a_refused_batch_does_not_stay_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start([Answer::Refuse], &Settings { permits: 0, ..settings(&folder, 2) });
    give_batches(&bench, 10).await;
    until(&bench, |counted| counted.spans_spooled > 10).await;
    bench.permits.add_permits(1000);
    let (_, counted) = bench.end().await;
    assert_eq!((counted.dropped(DropReason::Refused), counted.spans_spooled, counted.spool_bytes), (20, 0, 0));
}

#[tokio::test]
async fn a_source_that_can_wait_fills_the_spool_and_then_waits() {
    let folder = tempfile::tempdir().unwrap();
    let wait = Settings { max_spans: 200, when_full: WhenFull::Wait, permits: 0, ..settings(&folder, 300) };
    let bench = Bench::start([Answer::Accept], &wait);
    let giving = async {
        for _ in 0..60 {
            bench.give_spans(200).await;
        }
    };
    let opening = async {
        until(&bench, |counted| counted.spans_stored > 1000).await;
        bench.permits.add_permits(1000);
    };
    tokio::join!(giving, opening);
    let (result, counted) = bench.end().await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((counted.spans_exported, counted.dropped_total()), (12_000, 0));
    assert!(counted.spans_stored > 1000, "{counted:?}");
}
