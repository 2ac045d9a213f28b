//! Batches in, batches out, with ends of every kind in between.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn config(folder: &tempfile::TempDir, max_bytes: u64) -> SpoolConfig {
    SpoolConfig { directory: folder.path().join("spool"), max_bytes }
}

fn open(config: &SpoolConfig) -> Spool {
    Spool::open(config).unwrap().unwrap()
}

fn batch(number: u64, size: usize) -> Batch {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(size.max(8), b'.');
    Batch { bytes: Bytes::from(bytes), spans: number + 1, ..Batch::default() }
}

fn number(batch: &Batch) -> u64 {
    u64::from_le_bytes(batch.bytes[..8].try_into().unwrap())
}

fn store(spool: &mut Spool, batch: &Batch) -> u64 {
    let (lost, stored) = spool.store(batch);
    stored.unwrap();
    lost
}

fn read_all(spool: &mut Spool) -> Vec<u64> {
    std::iter::from_fn(|| spool.read().1).map(|batch| number(&batch)).collect()
}

#[test]
fn batches_come_back_in_order_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&config(&folder, 8 << 20));
    for each in 0..100 {
        assert_eq!(store(&mut spool, &batch(each, 50_000)), 0);
    }
    assert!(spool.segments.len() > 2, "several files");
    for each in 0..100 {
        let (lost, read) = spool.read();
        let read = read.unwrap();
        assert_eq!((lost, read.spans, &read.bytes), (0, each + 1, &batch(each, 50_000).bytes));
    }
    assert_eq!(spool.read(), (0, None));
    assert_eq!(spool.unread_spans(), 0);
}

#[test]
fn what_is_older_than_all_others_is_read_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 1 << 20);
    let mut spool = open(&config);
    for each in 10..20 {
        store(&mut spool, &batch(each, 50_000));
    }
    spool.store_first(&[batch(8, 100), batch(9, 100)]).unwrap();
    spool.store_first(&[batch(7, 100)]).unwrap();
    assert!(spool.store_first(&[batch(0, 600_000)]).is_err(), "no other is lost for it");
    drop(spool);
    assert_eq!(read_all(&mut open(&config)), (7..20).collect::<Vec<_>>());
}

#[test]
fn what_is_done_with_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 8 << 20);
    let mut spool = open(&config);
    for each in 0..40 {
        store(&mut spool, &batch(each, 100_000));
    }
    let read: Vec<Batch> = std::iter::from_fn(|| spool.read().1).collect();
    for batch in read.iter().rev() {
        spool.done(batch.spooled.unwrap());
    }
    assert_eq!((spool.bytes(), spool.segments.len()), (0, 0));
    let files: Vec<_> = std::fs::read_dir(&config.directory).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["lock"]);
}

#[test]
fn over_the_bound_the_oldest_go_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&config(&folder, 1 << 20));
    let mut lost = 0;
    for each in 0..100 {
        lost += store(&mut spool, &batch(each, 30_000));
        assert!(spool.bytes() <= 1 << 20);
    }
    let kept = read_all(&mut spool);
    let first = kept[0];
    assert_eq!(kept, (first..100).collect::<Vec<_>>(), "the newest, without a hole");
    assert_eq!(lost, (0..first).map(|each| each + 1).sum::<u64>());
    assert!(kept.len() > 28, "at most a segment too many is lost: {}", kept.len());
}

#[test]
fn a_batch_larger_than_the_bound_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(&config(&folder, 1 << 20));
    store(&mut spool, &batch(0, 100));
    let (lost, stored) = spool.store(&batch(1, 2 << 20));
    assert_eq!((lost, stored.is_err()), (0, true));
    assert_eq!(read_all(&mut spool), [0]);
}

#[test]
fn a_folder_has_one_agent_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 1 << 20);
    let first = open(&config);
    let error = Spool::open(&config).unwrap_err().to_string();
    assert!(error.contains("AGENT_SPOOL_DIRECTORY=") && error.contains("another agent"), "{error}");
    drop(first);
    open(&config);
}

#[test]
fn a_look_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 1 << 20);
    assert_eq!(Spool::look(&config).unwrap(), "it will be made");
    assert!(!config.directory.exists());
    let mut spool = open(&config);
    store(&mut spool, &batch(0, 76));
    assert_eq!(Spool::look(&config).unwrap(), "100 bytes wait in it, and an agent that runs has it");
    drop(spool);
    std::fs::write(Segment::path(&config.directory, 5), "torn").unwrap();
    assert_eq!(Spool::look(&config).unwrap(), "104 bytes wait in it");
    assert_eq!(std::fs::read(Segment::path(&config.directory, 5)).unwrap(), b"torn");
    let under_a_file = SpoolConfig { directory: Segment::path(&config.directory, 5).join("x"), ..config };
    assert!(Spool::look(&under_a_file).unwrap_err().to_string().contains("may write"));
}

#[test]
fn a_folder_that_cannot_be_is_a_fault_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let config = SpoolConfig { directory: folder.path().join("file"), max_bytes: 1 << 20 };
    assert!(Spool::open(&config).unwrap_err().to_string().contains("may write"));
}

#[test]
fn nobody_else_may_read_what_waits() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 1 << 20);
    store(&mut open(&config), &batch(0, 100));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.directory), 0o700);
    for file in std::fs::read_dir(&config.directory).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn a_damaged_segment_costs_what_is_behind_the_damage_and_no_other_segment() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, 1 << 20);
    let mut spool = open(&config);
    for each in 0..8 {
        store(&mut spool, &batch(each, 60_000));
    }
    drop(spool);
    let first = Segment::path(&config.directory, Spool::FIRST_NUMBER);
    let mut bytes = std::fs::read(&first).unwrap();
    let middle = bytes.len() / 4 * 3;
    bytes[middle] ^= 0xff;
    std::fs::write(&first, bytes).unwrap();

    let mut spool = open(&config);
    let unread = spool.unread_spans();
    let (mut lost, mut read) = (0, Vec::new());
    while let (gone, Some(batch)) = spool.read() {
        lost += gone;
        read.push(batch);
    }
    assert_eq!(read.iter().map(number).collect::<Vec<_>>(), [0, 2, 3, 4, 5, 6, 7]);
    assert_eq!(lost + read.iter().map(|batch| batch.spans).sum::<u64>(), unread);
    for batch in &read {
        spool.done(batch.spooled.unwrap());
    }
    assert_eq!(spool.bytes(), 0, "no file stays for what cannot be read");
}

/// What befalls a spool.
#[derive(Clone, Debug)]
enum Step {
    Store(usize),
    Read,
    /// One of those that were read, by its place.
    Done(usize),
    /// The program ends, in the middle of writing when there are bytes to be cut off.
    Restart(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (8_usize..200_000).prop_map(Step::Store),
        3 => Just(Step::Read),
        2 => (0_usize..8).prop_map(Step::Done),
        1 => (0_u64..3).prop_map(|cut| Step::Restart(cut * 11)),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Against a list: everything stored comes back in order, again after a restart unless it is done with, but for what
    /// was the oldest when the room ran out and what a crash cut off; and the sums are right.
    #[test]
    fn a_spool_is_a_list_that_outlives_the_program(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder, 1 << 20);
        let mut spool = open(&config);
        // Not done with, in order, and whether it was read.
        let mut model: VecDeque<(u64, bool)> = VecDeque::new();
        let mut read: Vec<Batch> = Vec::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Store(size) => {
                    let lost = store(&mut spool, &batch(next, size));
                    model.push_back((next, false));
                    next += 1;
                    let held: u64 = model.iter().filter(|(_, read)| !read).map(|(number, _)| number + 1).sum();
                    prop_assert_eq!(held - lost, spool.unread_spans());
                    // The oldest went: those that are no longer there.
                    let mut gone = lost;
                    while gone > 0 {
                        let (number, was_read) = model.pop_front().unwrap();
                        gone -= if was_read { 0 } else { number + 1 };
                    }
                    prop_assert!(spool.bytes() <= 1 << 20);
                }
                Step::Read => {
                    let wanted = model.iter().find(|(_, read)| !read).map(|(number, _)| *number);
                    let (lost, batch) = spool.read();
                    prop_assert_eq!((lost, batch.as_ref().map(number)), (0, wanted));
                    if let Some(batch) = batch {
                        model.iter_mut().find(|(number, _)| Some(*number) == wanted).unwrap().1 = true;
                        read.push(batch);
                    }
                }
                Step::Done(place) => {
                    if place < read.len() {
                        let batch = read.remove(place);
                        spool.done(batch.spooled.unwrap());
                        model.retain(|(held, _)| *held != number(&batch));
                    }
                }
                Step::Restart(cut) => {
                    read.clear();
                    let last = spool.segments.back().map(|segment| (segment.number, segment.length));
                    drop(spool);
                    if let Some((number, length)) = last.filter(|_| cut > 0) {
                        let path = Segment::path(&config.directory, number);
                        let file = OpenOptions::new().write(true).open(path).unwrap();
                        file.set_len(length.saturating_sub(cut)).unwrap();
                    }
                    spool = open(&config);
                    let there: Vec<u64> = {
                        let mut copy = Vec::new();
                        while let (0, Some(batch)) = spool.read() {
                            copy.push(number(&batch));
                        }
                        copy
                    };
                    // What was read and then lost its segment for want of room may be gone, and the last one when it was cut.
                    let held: Vec<u64> = model.iter().map(|(number, _)| *number).collect();
                    prop_assert!(held.ends_with(&there) || (cut > 0 && held[..held.len() - 1].ends_with(&there)),
                        "{there:?} of {held:?}");
                    model = there.iter().map(|number| (*number, false)).collect();
                    drop(spool);
                    spool = open(&config);
                }
            }
        }
    }
}
