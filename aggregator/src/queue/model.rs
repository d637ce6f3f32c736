//! The queue against a model of it, on a disk that loses power and fails.
//!
//! The parts are driven one step at a time, in any order that threads could take; the model knows which
//! records were acknowledged upstream (appended) and which downstream (acknowledged by the outputs and in a
//! synced checkpoint). After each crash: nothing that was appended and not acknowledged downstream is missing,
//! nothing comes twice in one life, and nothing comes back that a synced checkpoint said is done with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::appender::{Group, NotAppended};
use super::done::Done;
use super::faults::{Disk, Failure, Survival};
use super::format::{RECORD_HEADER, SEGMENT_HEADER, TRAILER};
use super::open::{Opened, open, release_reserve, survey};
use super::reader::Taken;
use super::scan::Depth;
use super::state::segment_name;
use super::storage::Storage;
use super::{Compression, QueueError, QueueOptions};

/// A step of a life.
#[derive(Clone, Debug)]
enum Step {
    /// Batches of these sizes come and are written together.
    Append(Vec<usize>),
    /// A worker takes a record.
    Take,
    /// The outputs have the record that was taken at this place of the list, any of them.
    Acknowledge(usize),
    /// A checkpoint without a sync.
    Write,
    /// A checkpoint with one.
    Sync,
    /// The next write stops after so many bytes.
    FailWrite(usize),
    /// The next sync fails.
    FailSync,
    /// Power is cut.
    Crash(Survival),
    /// The process is killed and started again.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0_usize..400, 1..5).prop_map(Step::Append),
        6 => Just(Step::Take),
        6 => (0_usize..8).prop_map(Step::Acknowledge),
        1 => Just(Step::Write),
        2 => Just(Step::Sync),
        1 => (0_usize..600).prop_map(Step::FailWrite),
        1 => Just(Step::FailSync),
        1 => survival().prop_map(Step::Crash),
        1 => Just(Step::Kill),
    ]
}

fn survival() -> impl Strategy<Value = Survival> {
    prop_oneof![
        Just(Survival::Nothing),
        Just(Survival::Everything),
        Just(Survival::Alternate),
        (0_u64..1500).prop_map(Survival::Bytes),
    ]
}

fn options(compression: Compression) -> QueueOptions {
    QueueOptions {
        persisted: true,
        page_capacity: 600,
        max_bytes: 4000,
        compression,
        ..QueueOptions::default()
    }
}

/// The content of a record says which one it is, whatever number it got.
fn content(identity: u64, size: usize) -> Vec<u8> {
    let mut bytes = identity.to_le_bytes().to_vec();
    bytes.resize(8 + size, b'a' + (identity % 26) as u8);
    bytes
}

struct Life {
    disk: Disk,
    options: QueueOptions,
    opened: Opened,
    group: Group,
    next: u64,
    /// What waits for a write that has not worked yet: group index of the first.
    written: usize,
    waiting: Vec<u64>,
    /// Taken in this life and not acknowledged, with sequence numbers.
    with_workers: Vec<(u64, u64)>,
    seen: BTreeSet<u64>,
    /// What the checkpoint of its beginning must have known to be delivered.
    known: BTreeSet<u64>,
    /// That, and what was delivered in this life.
    delivered: BTreeSet<u64>,
}

/// What has to be true over all lives.
#[derive(Default)]
struct Model {
    identities: u64,
    /// Acknowledged upstream.
    appended: BTreeMap<u64, Vec<u8>>,
    /// Acknowledged by the outputs.
    delivered: BTreeSet<u64>,
    /// Of those, the ones that the newest checkpoint knows of, even if it is not synced.
    written: BTreeSet<u64>,
    /// And the ones that a synced one knows of.
    synced: BTreeSet<u64>,
}

impl Life {
    fn begin(disk: &Disk, options: &QueueOptions) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let opened = open(&storage, options, Depth::Header).unwrap();
        Self {
            disk: disk.clone(),
            options: options.clone(),
            group: Group::new(options.compression).unwrap(),
            next: opened.next,
            opened,
            written: 0,
            waiting: Vec::new(),
            with_workers: Vec::new(),
            seen: BTreeSet::new(),
            known: BTreeSet::new(),
            delivered: BTreeSet::new(),
        }
    }

    fn begin_again(&mut self, known: &BTreeSet<u64>) {
        *self = Self::begin(&self.disk, &self.options);
        self.known.clone_from(known);
        self.delivered.clone_from(known);
    }

    fn step(&mut self, step: &Step, model: &mut Model) {
        match step {
            Step::Append(sizes) => {
                // A group that is stuck is written before another one is begun.
                if self.waiting.is_empty() {
                    for size in sizes {
                        let identity = model.identities;
                        model.identities += 1;
                        let bytes = content(identity, *size);
                        self.group
                            .push(self.opened.shared.salt, self.next, 1, |out| {
                                out.extend_from_slice(&bytes);
                            })
                            .unwrap();
                        self.next += 1;
                        self.waiting.push(identity);
                    }
                }
                self.write(model);
            }
            Step::Take => {
                if let Some((sequence, identity)) = self.take() {
                    self.with_workers.push((sequence, identity));
                }
            }
            Step::Acknowledge(place) => {
                if self.with_workers.is_empty() {
                    return;
                }
                let place = place % self.with_workers.len();
                let (sequence, identity) = self.with_workers.remove(place);
                self.opened.shared.acknowledge(sequence, 1);
                self.delivered.insert(identity);
                model.delivered.insert(identity);
            }
            Step::Write => {
                // A write that fails has spoilt the slot.
                model.written = match self.opened.keeper.write() {
                    Ok(_) => self.delivered.clone(),
                    Err(_) => model.synced.clone(),
                };
            }
            Step::Sync => {
                if self.opened.keeper.sync().is_ok() {
                    model.synced = self.delivered.clone();
                }
                model.written = model.synced.clone();
            }
            Step::FailWrite(bytes) => self.disk.fail_next(Failure::Write(*bytes)),
            Step::FailSync => self.disk.fail_next(Failure::Sync),
            Step::Crash(survival) => {
                self.disk.crash(*survival);
                model.written = model.synced.clone();
                self.begin_again(&model.synced);
            }
            Step::Kill => {
                self.disk.heal();
                self.begin_again(&model.written);
                // Opening has synced it.
                model.synced = model.written.clone();
            }
        }
    }

    fn write(&mut self, model: &mut Model) {
        match self
            .opened
            .appender
            .append(&self.group, self.written, |_, _| {})
        {
            Ok(count) => {
                assert!(count > 0);
                for identity in self.waiting.drain(..count) {
                    // The sizes are in the content, which is checked when it is read.
                    model.appended.insert(identity, Vec::new());
                }
                self.written += count;
                if self.waiting.is_empty() {
                    assert_eq!(self.written, self.group.len());
                    self.group.clear();
                    self.written = 0;
                }
            }
            Err(NotAppended::Full | NotAppended::Disk { .. }) => {}
        }
    }

    /// The next record: its number and its identity.
    fn take(&mut self) -> Option<(u64, u64)> {
        let Taken::Read(header, payload) = self.opened.reader.take().unwrap()? else {
            panic!("nothing was kept in memory");
        };
        let identity = u64::from_le_bytes(payload[..8].try_into().unwrap());
        assert_eq!(
            payload,
            content(identity, payload.len() - 8),
            "the content is whole"
        );
        assert!(
            self.seen.insert(identity),
            "{identity} came twice in one life"
        );
        assert!(
            !self.known.contains(&identity),
            "{identity} was known to be delivered"
        );
        Some((header.sequence, identity))
    }

    /// Takes all there is, and checks that nothing is missing.
    fn finish(mut self, model: &Model) {
        // A new life, so that what is with workers comes again.
        self.disk.crash(Survival::Nothing);
        let mut last = Self::begin(&self.disk, &self.options);
        last.known.clone_from(&model.synced);
        let mut came = BTreeSet::new();
        while let Some((sequence, identity)) = last.take() {
            came.insert(identity);
            last.opened.shared.acknowledge(sequence, 1);
        }
        for identity in model.appended.keys() {
            assert!(
                came.contains(identity) || model.delivered.contains(identity),
                "record {identity} was acknowledged upstream and is gone"
            );
        }
        last.opened.keeper.sync().unwrap();
        let left: Vec<_> = last.opened.shared.lock().segments.keys().copied().collect();
        assert!(
            left.is_empty(),
            "segments {left:?} are left of an empty queue"
        );
        // And an empty queue stays empty.
        self = Self::begin(&self.disk, &self.options);
        assert!(self.take().is_none());
    }
}

fn run(steps: &[Step], compression: Compression) {
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &options(compression));
    for step in steps {
        life.step(step, &mut model);
    }
    life.finish(&model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_delivered_comes_again(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        run(&steps, Compression::None);
    }

    #[test]
    fn the_same_with_compression(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps, Compression::Speed);
    }
}

/// A queue with some records, synced; gives their number.
fn filled(disk: &Disk, options: &QueueOptions, sizes: &[usize]) -> u64 {
    let mut model = Model::default();
    let mut life = Life::begin(disk, options);
    for size in sizes {
        life.step(&Step::Append(vec![*size]), &mut model);
    }
    assert_eq!(model.appended.len(), sizes.len());
    sizes.len() as u64
}

/// Opens the queue and takes all there is.
fn identities(disk: &Disk, options: &QueueOptions) -> Vec<u64> {
    let mut life = Life::begin(disk, options);
    std::iter::from_fn(|| life.take().map(|(_, identity)| identity)).collect()
}

fn large() -> QueueOptions {
    QueueOptions {
        page_capacity: 1 << 20,
        max_bytes: 1 << 24,
        ..options(Compression::None)
    }
}

#[test]
fn a_last_segment_that_is_cut_anywhere_keeps_every_whole_record() {
    let options = large();
    let sizes = [0, 10, 100, 1, 37];
    let whole = Disk::new();
    filled(&whole, &options, &sizes);
    let name = segment_name(1);
    let length = whole.content(&name).len();
    let mut ends = vec![SEGMENT_HEADER];
    for size in sizes {
        ends.push(ends.last().unwrap() + RECORD_HEADER + 8 + size + TRAILER);
    }
    assert_eq!(*ends.last().unwrap(), length);
    for cut in 0..=length {
        let disk = Disk::new();
        filled(&disk, &options, &sizes);
        disk.damage(&name, |bytes| bytes.truncate(cut));
        let expected = ends[1..].iter().filter(|end| **end <= cut).count() as u64;
        let came = identities(&disk, &options);
        assert_eq!(came, (0..expected).collect::<Vec<_>>(), "cut at {cut}");
        let damaged = survey(&disk, Depth::Payload).unwrap().damaged_files;
        assert!(damaged.is_empty(), "a torn tail is no damage, cut at {cut}");
        // What came is not acknowledged, so it comes again, and what is appended comes behind it.
        let mut life = Life::begin(&disk, &options);
        assert_eq!(life.next, expected + 1);
        let mut model = Model {
            identities: 100,
            ..Model::default()
        };
        life.step(&Step::Append(vec![5]), &mut model);
        let again = identities(&disk, &options);
        assert_eq!(again.len() as u64, expected + 1, "cut at {cut}");
        assert_eq!(again.last(), Some(&100));
    }
}

#[test]
fn a_damaged_byte_anywhere_costs_at_most_the_record_it_is_in() {
    let options = large();
    let sizes = [3, 10, 30, 1];
    let whole = Disk::new();
    filled(&whole, &options, &sizes);
    let name = segment_name(1);
    let length = whole.content(&name).len();
    for at in 0..length {
        for segment_after in [false, true] {
            let disk = Disk::new();
            filled(&disk, &options, &sizes);
            let mut expected: Vec<u64> = (0..4).collect();
            let mut start = SEGMENT_HEADER;
            for (record, size) in sizes.iter().enumerate() {
                let end = start + RECORD_HEADER + 8 + size + TRAILER;
                if (start..end).contains(&at) {
                    expected.retain(|identity| *identity != record as u64);
                }
                start = end;
            }
            if segment_after {
                let mut life = Life::begin(&disk, &options);
                let mut model = Model {
                    identities: 4,
                    ..Model::default()
                };
                life.step(&Step::Append(vec![7]), &mut model);
                expected.push(4);
            }
            disk.damage(&name, |bytes| bytes[at] ^= 0x40);
            assert_eq!(identities(&disk, &options), expected, "byte {at}");
            let moved = survey(&disk, Depth::Payload).unwrap().damaged_files;
            let in_last_record = at >= length - (RECORD_HEADER + 8 + 1 + TRAILER);
            let torn = in_last_record && !segment_after;
            let in_header = at < SEGMENT_HEADER;
            assert_eq!(moved.is_empty(), torn || in_header, "byte {at}: {moved:?}");
            // Damage that is known does not make more files, and does not stop anything.
            assert_eq!(identities(&disk, &options), expected, "byte {at}, again");
            let again = survey(&disk, Depth::Payload).unwrap().damaged_files;
            assert_eq!(again, moved, "byte {at}");
        }
    }
}

#[test]
fn a_line_that_looks_like_a_record_is_not_taken_for_one() {
    let options = large();
    // A record of another queue, whole, as the content of a line.
    let mut forged = Group::new(Compression::None).unwrap();
    forged
        .push(0, 2, 1, |out| out.extend_from_slice(&content(99, 20)))
        .unwrap();
    let disk = Disk::new();
    let mut life = Life::begin(&disk, &options);
    let salt = life.opened.shared.salt;
    life.group
        .push(salt, 1, 1, |out| {
            out.extend_from_slice(forged.as_bytes());
        })
        .unwrap();
    life.group
        .push(salt, 2, 1, |out| out.extend_from_slice(&content(1, 5)))
        .unwrap();
    life.opened
        .appender
        .append(&life.group, 0, |_, _| {})
        .unwrap();
    disk.damage(&segment_name(1), |bytes| bytes[SEGMENT_HEADER + 8] ^= 1);
    assert_eq!(identities(&disk, &options), [1]);
}

#[test]
fn either_slot_of_the_checkpoint_may_be_lost() {
    for slot in [0, 1] {
        let options = large();
        let disk = Disk::new();
        let mut model = Model::default();
        let mut life = Life::begin(&disk, &options);
        for step in [
            Step::Append(vec![1, 2, 3, 4]),
            Step::Take,
            Step::Acknowledge(0),
            Step::Sync,
            Step::Take,
            Step::Acknowledge(0),
            Step::Sync,
        ] {
            life.step(&step, &mut model);
        }
        disk.damage("checkpoint", |bytes| bytes[slot * 4096 + 48] ^= 1);
        let survey = survey(&disk, Depth::Payload).unwrap();
        assert_eq!(survey.damaged_slots, 1);
        let came = identities(&disk, &options);
        // The older state makes one record come again; nothing is missing.
        assert!(came == [1, 2, 3] || came == [2, 3], "{came:?}");
    }
}

#[test]
fn without_any_checkpoint_everything_that_is_there_comes() {
    let options = large();
    let disk = Disk::new();
    filled(&disk, &options, &[1, 2, 3]);
    disk.damage("checkpoint", Vec::clear);
    assert_eq!(identities(&disk, &options), [0, 1, 2]);
}

#[test]
fn a_format_to_come_is_refused_and_left_alone() {
    let options = large();
    let disk = Disk::new();
    filled(&disk, &options, &[1]);
    disk.damage(&segment_name(1), |bytes| {
        bytes[8] = 2;
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..56]);
        bytes[56..64].copy_from_slice(&checksum.to_le_bytes());
    });
    let before = disk.content(&segment_name(1));
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let error = open(&storage, &options, Depth::Header).unwrap_err();
    assert!(
        matches!(error, QueueError::Newer { version: 2, .. }),
        "{error}"
    );
    assert_eq!(disk.content(&segment_name(1)), before);
}

#[test]
fn a_full_queue_takes_again_what_fits_when_something_is_delivered() {
    let options = options(Compression::None);
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &options);
    for _ in 0..40 {
        life.step(&Step::Append(vec![200]), &mut model);
    }
    let taken = model.appended.len();
    assert!((5..40).contains(&taken), "{taken}");
    let bytes = life.opened.shared.lock().bytes;
    assert!(bytes <= options.max_bytes - options.reserve(), "{bytes}");
    assert_eq!(life.waiting.len(), 1, "one group is stuck");
    for step in [
        Step::Take,
        Step::Take,
        Step::Acknowledge(0),
        Step::Acknowledge(0),
        Step::Take,
        Step::Acknowledge(0),
        Step::Sync,
    ] {
        life.step(&step, &mut model);
    }
    life.step(&Step::Append(Vec::new()), &mut model);
    assert_eq!(model.appended.len(), taken + 1);
    // The reserve is for a stop.
    for _ in 0..40 {
        life.step(&Step::Append(vec![1]), &mut model);
    }
    let taken = model.appended.len();
    assert_eq!(life.waiting.len(), 1);
    release_reserve(&disk).unwrap();
    life.opened.shared.free_reserve();
    life.step(&Step::Append(Vec::new()), &mut model);
    assert_eq!(model.appended.len(), taken + 1);
    life.finish(&model);
}

#[test]
fn a_full_disk_stops_the_queue_and_space_starts_it_again() {
    let options = large();
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &options);
    life.step(&Step::Append(vec![100]), &mut model);
    let used = disk.used();
    disk.set_capacity(Some(used + 50));
    for _ in 0..5 {
        life.step(&Step::Append(vec![1000]), &mut model);
    }
    assert_eq!(model.appended.len(), 1);
    assert_eq!(
        disk.used(),
        used,
        "what did not fit is not left behind half"
    );
    // Checkpoints are written all the same.
    life.step(&Step::Take, &mut model);
    life.step(&Step::Acknowledge(0), &mut model);
    life.opened.keeper.sync().unwrap();
    disk.set_capacity(None);
    life.step(&Step::Append(Vec::new()), &mut model);
    assert_eq!(model.appended.len(), 2);
    life.finish(&model);
}

#[test]
fn a_batch_larger_than_the_queue_goes_into_an_empty_one() {
    let options = options(Compression::None);
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &options);
    life.step(&Step::Append(vec![10_000]), &mut model);
    assert_eq!(model.appended.len(), 1);
    life.step(&Step::Append(vec![10]), &mut model);
    assert_eq!(model.appended.len(), 1, "it is full now");
    life.step(&Step::Take, &mut model);
    life.step(&Step::Acknowledge(0), &mut model);
    life.step(&Step::Sync, &mut model);
    life.step(&Step::Append(Vec::new()), &mut model);
    assert_eq!(model.appended.len(), 2);
    life.finish(&model);
}

#[test]
fn events_that_no_worker_has_taken_are_bounded() {
    let options = QueueOptions {
        max_events: 3,
        ..large()
    };
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &options);
    for _ in 0..5 {
        life.step(&Step::Append(vec![1]), &mut model);
    }
    assert_eq!(model.appended.len(), 3);
    life.step(&Step::Take, &mut model);
    life.step(&Step::Append(Vec::new()), &mut model);
    assert_eq!(model.appended.len(), 4);
    life.finish(&model);
}

#[test]
fn a_group_costs_one_sync() {
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &large());
    let before = disk.syncs();
    life.step(&Step::Append(vec![10; 200]), &mut model);
    assert_eq!(model.appended.len(), 200);
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn segments_in_the_middle_go_as_soon_as_all_of_them_is_delivered() {
    let options = QueueOptions {
        max_bytes: 1 << 20,
        ..options(Compression::None)
    };
    let disk = Disk::new();
    let mut model = Model::default();
    let mut life = Life::begin(&disk, &options);
    for _ in 0..30 {
        life.step(&Step::Append(vec![300]), &mut model);
        life.step(&Step::Take, &mut model);
    }
    let before = life.opened.shared.lock().segments.len();
    assert!(before > 10, "{before}");
    // All but the first, which an output does not get rid of.
    while life.with_workers.len() > 1 {
        life.step(&Step::Acknowledge(1), &mut model);
    }
    life.step(&Step::Sync, &mut model);
    let segments = life.opened.shared.lock().segments.clone();
    assert!(segments.len() <= 2, "{segments:?}");
    assert_eq!(life.opened.shared.lock().done, {
        let mut done = Done::new(1);
        done.insert(2, 31);
        done
    });
    // The gap is known after a crash, too.
    disk.crash(Survival::Nothing);
    assert_eq!(identities(&disk, &options), [0]);
}
