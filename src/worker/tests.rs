//! A worker stops, ends, fails and panics as its handle says.

use std::sync::mpsc::{SyncSender, sync_channel};

use super::*;
use crate::capture::{MemorySource, OwnedPacket};
use crate::export::WhenFull;
use crate::packet::{LinkType, RawPacket};
use crate::pipeline::PipelineConfig;
use crate::tcp::Bulk;
use crate::time::Timestamp;

fn run(source: impl PacketSource + 'static, stop: &Stop) -> (WorkerHandle, ExchangeReceiver) {
    let (sender, receiver) = exchange_queue(1 << 20, WhenFull::Wait);
    let pipeline = Pipeline::new(PipelineConfig::default());
    (start("worker-0", Box::new(source), pipeline, sender, stop.clone()).unwrap(), receiver)
}

/// Never has a packet; says when it was asked the first time.
struct Quiet {
    asked: Option<SyncSender<()>>,
}

impl PacketSource for Quiet {
    fn receive(&mut self, wait: Duration, _: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        assert!(wait <= Duration::from_millis(100));
        self.asked.take().map(|asked| asked.send(()));
        Ok(Received::Idle { at: Timestamp::default() })
    }

    fn statistics(&mut self) -> CaptureStatistics {
        CaptureStatistics { received: 7, ..CaptureStatistics::default() }
    }

    fn position(&self) -> Option<u64> {
        Some(42)
    }
}

/// Fails, or panics, at once.
struct Broken {
    panics: bool,
}

impl PacketSource for Broken {
    fn receive(&mut self, _: Duration, _: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        assert!(!self.panics, "as planned");
        Err(CaptureError::Failed("the cable is cut".to_owned()))
    }

    fn statistics(&mut self) -> CaptureStatistics {
        CaptureStatistics::default()
    }
}

#[tokio::test]
async fn a_source_that_ends_ends_the_worker_and_its_queue() {
    let packet =
        OwnedPacket { at: Timestamp::default(), data: vec![0; 60], wire_length: 60, link: LinkType::Raw, interface: 0 };
    let (mut worker, mut receiver) = run(MemorySource::new(vec![packet; 3000]), &Stop::default());
    let report = worker.finished().await;
    assert!(report.result.is_ok());
    assert_eq!(report.snapshot.capture.received, 3000);
    assert_eq!(report.snapshot, worker.snapshot());
    assert!(receiver.receive().await.is_none());
}

#[tokio::test]
async fn a_stop_ends_a_worker_whose_source_never_would() {
    let (asked, was_asked) = sync_channel(1);
    let stop = Stop::default();
    let (mut worker, mut receiver) = run(Quiet { asked: Some(asked) }, &stop);
    was_asked.recv().unwrap();
    stop.set();
    let report = worker.finished().await;
    assert!(report.result.is_ok());
    assert_eq!((report.snapshot.capture.received, report.snapshot.position), (7, Some(42)));
    assert!(receiver.receive().await.is_none());
}

/// Shows packets of the present at once, and late one that it has had for as long as [`PacketSource::delay`] allows.
struct TwoBuffers {
    stop: Stop,
    stopped: Option<Instant>,
    shown: u64,
    held: bool,
}

impl TwoBuffers {
    const DELAY: Duration = Duration::from_millis(80);
}

impl PacketSource for TwoBuffers {
    #[expect(clippy::disallowed_methods, reason = "packets are of the present")]
    fn receive(&mut self, _: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        let stopped = *self.stopped.get_or_insert_with(Instant::now);
        self.stop.set();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = u64::try_from(since_epoch.as_nanos()).unwrap();
        let mut show = |at| {
            self.shown += 1;
            handle(&RawPacket {
                at: Timestamp::from_nanos(at),
                data: &[],
                wire_length: 0,
                link: LinkType::Raw,
                interface: 0,
            });
        };
        show(now);
        if self.held && stopped.elapsed() > Self::DELAY / 2 {
            self.held = false;
            show(now - 50_000_000);
        }
        thread::sleep(Duration::from_millis(1));
        Ok(Received::Packets(1))
    }

    fn statistics(&mut self) -> CaptureStatistics {
        // Whether it was seen.
        CaptureStatistics { received: self.shown, dropped_by_kernel: self.held.into(), ..CaptureStatistics::default() }
    }

    fn delay(&self) -> Duration {
        Self::DELAY
    }
}

#[tokio::test]
async fn what_a_source_still_holds_at_a_stop_is_seen_though_later_packets_came() {
    let stop = Stop::default();
    let source = TwoBuffers { stop: stop.clone(), stopped: None, shown: 0, held: true };
    let (mut worker, _receiver) = run(source, &stop);
    let snapshot = worker.finished().await.snapshot;
    assert_eq!(snapshot.capture.dropped_by_kernel, 0, "it was left behind");
    assert_eq!(snapshot.capture.received, snapshot.counters.packet.packets);
}

#[tokio::test]
async fn a_source_that_fails_is_reported_every_time_it_is_asked_for() {
    let (mut worker, _receiver) = run(Broken { panics: false }, &Stop::default());
    for _ in 0..2 {
        assert_eq!(worker.finished().await.result.unwrap_err().to_string(), "capture failed: the cable is cut");
    }
}

#[tokio::test]
async fn a_worker_that_panics_is_reported_as_failed_and_closes_its_queue() {
    let (mut worker, mut receiver) = run(Broken { panics: true }, &Stop::default());
    for _ in 0..2 {
        assert_eq!(worker.finished().await.result.unwrap_err().to_string(), "capture failed: worker-0 panicked");
    }
    assert!(receiver.receive().await.is_none());
}

/// Gives one packet of a stream that is no HTTP after the other until it is told to leave them out, and then ends.
struct Bulky {
    packet: OwnedPacket,
    named: SyncSender<String>,
    is_told: bool,
}

impl PacketSource for Bulky {
    fn receive(&mut self, _: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        if self.is_told {
            return Ok(Received::End);
        }
        let sequence = u32::from_be_bytes(self.packet.data[24..28].try_into().unwrap()).wrapping_add(1460);
        self.packet.data[24..28].copy_from_slice(&sequence.to_be_bytes());
        handle(&self.packet.as_raw());
        Ok(Received::Packets(1))
    }

    fn leave_out(&mut self, bulk: &[Bulk]) -> Result<(), CaptureError> {
        for stream in bulk {
            self.is_told = true;
            let _ = self.named.try_send(format!("{} {}", stream.source, stream.destination));
        }
        Ok(())
    }

    fn statistics(&mut self) -> CaptureStatistics {
        CaptureStatistics::default()
    }
}

#[tokio::test]
async fn a_source_is_told_of_streams_that_nobody_reads() {
    let header = [0x45, 0, 0x05, 0xdc, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let ports = [0x01, 0xbb, 0x9c, 0x40];
    // A TLS record of application data.
    let rest = [&[0; 8][..], &[0x50, 0x10, 0, 0, 0, 0, 0, 0], &[23, 3, 3, 0x40, 0], &[7; 1455]].concat();
    let data = [&header[..], &ports, &rest].concat();
    let packet = OwnedPacket { at: Timestamp::default(), wire_length: 1500, data, link: LinkType::Raw, interface: 0 };
    let (named, was_named) = sync_channel(8);
    let (mut worker, _receiver) = run(Bulky { packet, named, is_told: false }, &Stop::default());
    assert!(worker.finished().await.result.is_ok());
    assert_eq!(was_named.recv().unwrap(), "10.0.0.1:443 10.0.0.2:40000");
}

/// Shows a request whose connection is reset, and then always something.
struct Restless {
    packets: Vec<OwnedPacket>,
}

impl PacketSource for Restless {
    fn receive(&mut self, _: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        if let Some(packet) = self.packets.pop() {
            handle(&packet.as_raw());
        }
        thread::sleep(Duration::from_millis(1));
        Ok(Received::Packets(1))
    }

    fn statistics(&mut self) -> CaptureStatistics {
        CaptureStatistics::default()
    }
}

#[tokio::test]
async fn an_exchange_is_handed_over_soon_though_its_source_is_never_idle() {
    let packet = |flags: u8, sequence: u8, payload: &[u8]| {
        let length = 40 + u8::try_from(payload.len()).unwrap();
        let header = [0x45, 0, 0, length, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [0x9c, 0x40, 0, 80, 0, 0, 0, sequence, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0];
        let data = [&header[..], &tcp, payload].concat();
        let wire_length = u32::from(length);
        OwnedPacket { at: Timestamp::default(), data, wire_length, link: LinkType::Raw, interface: 0 }
    };
    let request = b"GET / HTTP/1.1\r\n\r\n";
    let end = 1 + u8::try_from(request.len()).unwrap();
    let (reset, request, syn) = (packet(0x04, end, b""), packet(0x18, 1, request), packet(0x02, 0, b""));
    let stop = Stop::default();
    let (mut worker, mut receiver) = run(Restless { packets: vec![reset, request, syn] }, &stop);
    let exchanges = tokio::time::timeout(Duration::from_secs(10), receiver.receive()).await;
    assert_eq!(exchanges.expect("it does not wait for an end").map(|exchanges| exchanges.len()), Some(1));
    stop.set();
    assert!(worker.finished().await.result.is_ok());
}
