//! Network interfaces → `RawPacket`, through libpcap.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use smallvec::SmallVec;

use self::interface::Interface;
use super::{CaptureError, CaptureStatistics, LiveConfig, PacketSource, Received, system};
use crate::packet::RawPacket;
use crate::time::Timestamp;

mod interface;
mod refusal;
#[cfg(test)]
mod tests;

/// How long the kernel gathers packets before it shows them: fewer wake-ups, and the later a span.
const GATHER: Duration = Duration::from_millis(40);
/// How far behind the clock the source's time is when nothing comes. A packet can wait in the ring for two turns of
/// [`GATHER`]; the rest is for a kernel timer that is late.
const LAG: Duration = Duration::from_millis(200);
/// Packets taken from one interface by one call of [`PacketSource::receive`].
const BATCH: usize = 4096;

/// Captures from one or several interfaces. Packets of different interfaces may be handed over out of order.
pub struct LiveSource {
    interfaces: Vec<Interface>,
    /// What interfaces that are gone had counted.
    past: CaptureStatistics,
}

impl LiveSource {
    /// Opens every interface, or none.
    ///
    /// # Errors
    /// [`CaptureError::NotPermitted`], [`CaptureError::Interface`] and [`CaptureError::Filter`].
    pub fn open(config: &LiveConfig) -> Result<Self, CaptureError> {
        let mut names: Vec<&str> = Vec::new();
        for name in config.interfaces.iter().map(String::as_str) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(CaptureError::Interface(format!("no interface is named; {}", refusal::choices())));
        }
        let share = usize::try_from(config.ring_bytes).unwrap_or(usize::MAX) / names.len();
        let open = |name| Interface::open(name, share, config);
        let interfaces = names.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { interfaces, past: CaptureStatistics::default() })
    }

    /// Goes on without an interface.
    fn give_up(&mut self, place: usize, reason: &str) -> Result<(), CaptureError> {
        let mut interface = self.interfaces.remove(place);
        self.past = self.past.plus(interface.statistics());
        let message = format!("interface {} is gone: {reason}", interface.name());
        if self.interfaces.is_empty() {
            return Err(CaptureError::Failed(format!("{message}; no other is left")));
        }
        tracing::warn!("{message}; capture goes on with the others");
        Ok(())
    }

    /// Waits until packets can be taken; says which interfaces have any.
    fn wait(&self, wait: Duration) -> Result<SmallVec<[bool; 8]>, CaptureError> {
        let descriptors: SmallVec<[BorrowedFd<'_>; 8]> = self.interfaces.iter().map(AsFd::as_fd).collect();
        system::wait_readable(&descriptors, wait).map_err(|error| CaptureError::Failed(error.to_string()))
    }
}

impl PacketSource for LiveSource {
    fn receive(&mut self, wait: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        let ready = self.wait(wait)?;
        let mut count = 0;
        let mut gone = Vec::new();
        for (place, interface) in self.interfaces.iter_mut().enumerate() {
            if ready.get(place) != Some(&true) {
                continue;
            }
            let mut counted = |packet: &RawPacket<'_>| {
                count += 1;
                handle(packet);
            };
            if let Err(reason) = interface.take(BATCH, &mut counted) {
                gone.push((place, reason));
            }
        }
        for (place, reason) in gone.into_iter().rev() {
            self.give_up(place, &reason)?;
        }
        Ok(if count > 0 { Received::Packets(count) } else { Received::Idle { at: present() } })
    }

    fn delay(&self) -> Duration {
        2 * GATHER
    }

    fn statistics(&mut self) -> CaptureStatistics {
        self.interfaces.iter_mut().map(Interface::statistics).fold(self.past, CaptureStatistics::plus)
    }
}

/// The present time, as far back as a packet can still be in a ring.
#[expect(clippy::disallowed_methods, reason = "live capture is where time enters when no packet brings it")]
fn present() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::default().saturating_add(since_epoch.saturating_sub(LAG))
}
