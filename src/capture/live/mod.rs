//! Network interfaces → `RawPacket`, through libpcap, shared among the workers.
//!
//! Every ring captures on all interfaces at once, and the kernel's filter says which of them count. So pods may come and
//! go without a restart, and without the right to open another socket: when interfaces change, only the filter does.
//!
//! Several workers share the packets by `PACKET_FANOUT_HASH`: the kernel's hash of addresses and ports is the same for
//! both directions of a connection. It cannot look into tunnels and does not see the ports of fragments; those go to
//! the first worker alone, through a ring of their own.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use pcap::Linktype;
use smallvec::SmallVec;

use self::program::Program;
use self::ring::{Ring, Taken};
use self::selection::{Choice, Interface, Selection};
use super::filter::to_one_worker;
use super::{CaptureError, CaptureStatistics, LiveConfig, PacketSource, Received, system};
use crate::netlink::{Notices, Subject};
use crate::packet::RawPacket;
use crate::tcp::Bulk;
use crate::time::Timestamp;

mod bpf;
mod program;
mod refusal;
mod ring;
mod selection;
mod shorten;
#[cfg(test)]
mod tests;

/// How long the kernel gathers packets before it shows them: fewer wake-ups, and the later a span. It closes one of the ring's
/// blocks (256 KiB) then, full or not; so it also says how long an agent may be starved when there is little traffic: a ring of
/// 4 MiB, a quarter of the default, has 16 blocks for 1.6 s at least.
const GATHER: Duration = Duration::from_millis(100);
/// How far behind the clock the source's time is when nothing comes. A packet can wait in the ring for two turns of
/// [`GATHER`]; the rest is for a kernel timer that is late.
const LAG: Duration = Duration::from_millis(400);
/// Packets taken from one ring by one call of [`PacketSource::receive`].
const BATCH: usize = 4096;
/// So few packets at once are large ones that fill the kernel's blocks: to wake for each block costs more than they do.
const FEW: usize = 256;
/// How long they are let gather. A ring holds what ten gigabits a second bring in this time several times over.
const REST: Duration = Duration::from_millis(1);

/// One worker's share of a live capture. Packets of different rings may be handed over out of order.
pub struct LiveSource {
    rings: SmallVec<[Ring; 2]>,
    selection: Selection,
    choice: Choice,
    /// Streams of whose packets the kernel keeps the beginning only.
    bulk: SmallVec<[Bulk; 16]>,
    /// Tells of interfaces that come and go; none when all count, whatever they are.
    notices: Option<Notices>,
    taken: Taken,
    promiscuous: Promiscuous,
    teller: Teller,
    /// The last turn brought few packets.
    rests: bool,
}

/// Which interfaces were asked for what is addressed to other machines.
#[derive(Clone, Debug)]
enum Promiscuous {
    No,
    /// The kernel's numbers of these, and others as they come.
    Yes(BTreeSet<u32>),
}

/// Which of the workers speaks, and asks, for all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Teller {
    First,
    Other,
}

impl LiveSource {
    /// Opens as many sources as there are workers to be, at least one; together they give every packet once.
    ///
    /// # Errors
    /// [`CaptureError::NotPermitted`], [`CaptureError::Interface`] and [`CaptureError::Filter`].
    pub fn open(config: &LiveConfig) -> Result<Vec<Self>, CaptureError> {
        let selection = Selection::new(&config.interfaces, &config.without);
        let workers = config.workers.max(1);
        // They come before the list of interfaces, so that none comes between the two unseen.
        let notices = (0..workers).map(|worker| notices(&selection, config, teller(worker)));
        let notices = notices.collect::<Result<Vec<_>, _>>()?;
        let there = system::interfaces();
        if config.interfaces.is_empty() {
            return Err(CaptureError::Interface(format!("no interface is named; {}", refusal::choices(&there))));
        }
        let missing: Vec<&str> = selection.missing(&there).collect();
        if !missing.is_empty() {
            return Err(refusal::no_such_interface(&missing, &there));
        }
        let choice = selection.choose(&there);
        say_what_is_down(&choice, &there);
        let mut sources = Vec::new();
        for (worker, (rings, notices)) in open_rings(config, &selection, workers)?.into_iter().zip(notices).enumerate()
        {
            let (selection, choice, teller) = (selection.clone(), choice.clone(), teller(worker));
            let promiscuous = if config.promiscuous && teller == Teller::First {
                Promiscuous::Yes(BTreeSet::new())
            } else {
                Promiscuous::No
            };
            let taken = Taken::Chosen;
            let bulk = SmallVec::new();
            sources.push(Self { rings, selection, choice, bulk, notices, taken, promiscuous, teller, rests: false });
        }
        // Before all share, one would see the packets of others.
        for source in &mut sources {
            source.take_from(choice.clone(), &there)?;
        }
        Ok(sources)
    }

    /// Takes the packets of `choice` from now on.
    fn take_from(&mut self, choice: Choice, there: &[Interface]) -> Result<(), CaptureError> {
        let mut taken = Taken::Chosen;
        for ring in &self.rings {
            if ring.take_from(&choice, &self.bulk)? == Taken::All {
                taken = Taken::All;
            }
        }
        self.choice = choice;
        let was_taken = std::mem::replace(&mut self.taken, taken);
        if (was_taken, taken, self.teller) == (Taken::Chosen, Taken::All, Teller::First) {
            tracing::warn!(
                "There are more interfaces than the kernel's filter can name: all are captured. With a larger \
                 net.core.optmem_max it can name more, 4000 at most."
            );
        }
        self.make_promiscuous(there);
        Ok(())
    }

    /// Asks the cards for what is addressed to other machines, too; each once, for as long as the ring is open.
    fn make_promiscuous(&mut self, there: &[Interface]) {
        let (Promiscuous::Yes(asked), Some(ring)) = (&mut self.promiscuous, self.rings.first()) else { return };
        asked.retain(|index| there.iter().any(|interface| interface.index == *index));
        for interface in there.iter().filter(|interface| self.choice.takes(interface.index)) {
            if asked.insert(interface.index)
                && let Err(error) = system::make_promiscuous(ring.as_fd(), interface.index)
            {
                tracing::warn!(%error, "Interface {} cannot be made promiscuous.", interface.name);
            }
        }
    }

    /// Lets packets gather where few came at once.
    fn rest(&mut self) {
        if std::mem::take(&mut self.rests) {
            std::thread::sleep(REST);
        }
    }

    /// Looks at the interfaces again when the kernel says that they have changed.
    fn follow_interfaces(&mut self) -> Result<(), CaptureError> {
        let Some(notices) = &self.notices else { return Ok(()) };
        if !notices.drain() {
            return Ok(());
        }
        let there = system::interfaces();
        let choice = self.selection.choose(&there);
        if choice == self.choice {
            self.make_promiscuous(&there);
            return Ok(());
        }
        self.take_from(choice, &there)?;
        if self.teller == Teller::First {
            self.tell_of_interfaces(&there);
        }
        Ok(())
    }

    /// Says what is captured from now on.
    fn tell_of_interfaces(&self, there: &[Interface]) {
        let missing: Vec<&str> = self.selection.missing(there).collect();
        if missing.is_empty() {
            let taken = there.iter().filter(|interface| self.choice.takes(interface.index));
            let names: Vec<&str> = taken.map(|interface| interface.name.as_str()).collect();
            tracing::debug!(interfaces = names.join(","), "The interfaces have changed.");
        } else {
            let missing = missing.join(", ");
            tracing::warn!("Interface {missing} is gone; it is captured again when it is back.");
        }
    }

    /// Waits until packets can be taken, or interfaces have changed; says which rings have any.
    fn wait(&self, wait: Duration) -> Result<SmallVec<[bool; 8]>, CaptureError> {
        let rings = self.rings.iter().map(AsFd::as_fd);
        let descriptors: SmallVec<[BorrowedFd<'_>; 8]> = rings.chain(self.notices.iter().map(AsFd::as_fd)).collect();
        system::wait_readable(&descriptors, wait).map_err(|error| CaptureError::Failed(error.to_string()))
    }
}

impl PacketSource for LiveSource {
    fn receive(&mut self, wait: Duration, handle: &mut dyn FnMut(&RawPacket<'_>)) -> Result<Received, CaptureError> {
        self.rest();
        let ready = self.wait(wait)?;
        let mut count = 0;
        let mut counted = |packet: &RawPacket<'_>| {
            count += 1;
            handle(packet);
        };
        for (ring, _) in self.rings.iter_mut().zip(&ready).filter(|(_, ready)| **ready) {
            ring.take(BATCH, &mut counted).map_err(CaptureError::Failed)?;
        }
        if ready.get(self.rings.len()) == Some(&true) {
            self.follow_interfaces()?;
        }
        self.rests = (1..FEW).contains(&count);
        Ok(if count > 0 { Received::Packets(count) } else { Received::Idle { at: present() } })
    }

    fn leave_out(&mut self, bulk: &[Bulk]) -> Result<(), CaptureError> {
        if self.bulk.len() == bulk.len() && self.bulk.iter().zip(bulk).all(|(known, now)| known.still_serves(now)) {
            return Ok(());
        }
        self.bulk = bulk.into();
        let choice = if self.taken == Taken::All { &Choice::All } else { &self.choice };
        self.rings.iter().try_for_each(|ring| ring.shorten(choice, &self.bulk))
    }

    fn delay(&self) -> Duration {
        2 * GATHER
    }

    fn statistics(&mut self) -> CaptureStatistics {
        self.rings.iter_mut().map(Ring::statistics).fold(CaptureStatistics::default(), CaptureStatistics::plus)
    }
}

const fn teller(worker: usize) -> Teller {
    if worker == 0 { Teller::First } else { Teller::Other }
}

/// What tells a worker of interfaces that come and go, if it needs to know.
fn notices(selection: &Selection, config: &LiveConfig, teller: Teller) -> Result<Option<Notices>, CaptureError> {
    let wanted = selection.depends_on_interfaces() || (config.promiscuous && teller == Teller::First);
    let notices = wanted.then(|| Notices::of(Subject::Interfaces)).transpose();
    notices.map_err(|error| CaptureError::Failed(format!("the kernel gives no notices: {error}")))
}

/// The rings of each worker, which share the packets; they take none yet.
fn open_rings(
    config: &LiveConfig,
    selection: &Selection,
    workers: usize,
) -> Result<Vec<SmallVec<[Ring; 2]>>, CaptureError> {
    let share = usize::try_from(config.ring_bytes).unwrap_or(usize::MAX) / workers;
    // The kernel puts fragments together before it looks at their interface: of one that is left out, perhaps.
    let joins_fragments = !selection.depends_on_interfaces();
    let to_one_worker = to_one_worker(joins_fragments);
    let shared = (workers > 1).then(|| joined(&config.filter, "and not", &to_one_worker));
    let mut group = None;
    let mut all = Vec::new();
    for worker in 0..workers {
        let mut rings = SmallVec::new();
        let ring = Ring::open(shared.as_deref().unwrap_or(&config.filter), share, config)?;
        if workers > 1 {
            group = Some(ring.share(group, joins_fragments)?);
        }
        rings.push(ring);
        if workers > 1 && worker == 0 {
            rings.push(Ring::open(&joined(&config.filter, "and", &to_one_worker), share, config)?);
        }
        all.push(rings);
    }
    Ok(all)
}

/// What is wrong with a filter for live capture; none when it can be used.
pub fn filter_fault(filter: &str) -> Option<String> {
    // A libpcap that does not know the second is captured with by the first.
    let compile = |link| Program::compile(filter, link, 1).map_err(|error| error.to_string());
    compile(ring::SLL2).or_else(|reason| compile(Linktype::LINUX_SLL).map_err(|_| reason)).err()
}

/// Two conditions; an empty expression is true.
fn joined(filter: &str, how: &str, other: &str) -> String {
    let filter = if filter.is_empty() { "greater 0" } else { filter };
    format!("({filter}) {how} ({other})")
}

fn say_what_is_down(choice: &Choice, there: &[Interface]) {
    let Choice::Only(indices) = choice else { return };
    let down = system::down();
    let is_down = |interface: &&Interface| indices.contains(&interface.index) && down.contains(&interface.name);
    for Interface { name, .. } in there.iter().filter(is_down) {
        tracing::warn!("Interface {name} is down; its packets come when it is up: ip link set {name} up");
    }
    if indices.is_empty() {
        tracing::warn!("No interface matches yet; capture begins with the first that does.");
    }
}

/// The present time, as far back as a packet can still be in a ring.
#[expect(clippy::disallowed_methods, reason = "live capture is where time enters when no packet brings it")]
fn present() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = since_epoch.saturating_sub(LAG);
    Timestamp::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
}
