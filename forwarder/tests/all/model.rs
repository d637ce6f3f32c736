//! Random histories: appends, rotations of every kind, orderly restarts and kills, against a
//! receiver that takes everything. Afterwards no line is missing; and without a kill nothing came
//! twice.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::support::{PATIENCE, Place, Receiver, Running, lines};

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    AppendPartial,
    Rename,
    CopyTruncate,
    Delete,
    Restart,
    Kill,
    AppendWhileDown(usize),
    CompressWhileDown(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..300).prop_map(Step::Append),
        1 => Just(Step::AppendPartial),
        2 => Just(Step::Rename),
        1 => Just(Step::CopyTruncate),
        1 => Just(Step::Delete),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
        1 => (1_usize..50).prop_map(Step::AppendWhileDown),
        1 => (1_usize..300).prop_map(Step::CompressWhileDown),
        1 => Just(Step::Wait),
    ]
}

struct History {
    place: Place,
    receiver: Receiver,
    config: std::path::PathBuf,
    running: Option<Running>,
    written: usize,
    partial: bool,
    rotations: usize,
    may_repeat: bool,
}

impl History {
    fn new() -> Self {
        let (place, receiver) = (Place::new(), Receiver::start());
        let config = place.config(
            &receiver,
            "app.log*",
            "spool size: 64\npartial line timeout: 1h",
        );
        let running = Some(Running::start(&config));
        Self {
            place,
            receiver,
            config,
            running,
            written: 0,
            partial: false,
            rotations: 0,
            may_repeat: false,
        }
    }

    fn append(&mut self, count: usize) {
        // A partial line is the beginning of the next whole one.
        let text = lines("line", self.written..self.written + count);
        let skip = if std::mem::take(&mut self.partial) {
            "line-".len()
        } else {
            0
        };
        self.place.append("app.log", &text[skip..]);
        self.written += count;
    }

    fn missing(&self) -> Vec<usize> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for message in self.receiver.messages() {
            *seen.entry(message).or_default() += 1;
        }
        (0..self.written)
            .filter(|number| !seen.contains_key(&format!("line-{number}")))
            .collect()
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let missing = self.missing();
            if missing.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "missing: {missing:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn finish_partial(&mut self) {
        if self.partial {
            self.append(1);
        }
    }

    /// Takes the steps, and then everything has to have arrived.
    fn run(mut self, steps: &[Step]) -> Result<(), TestCaseError> {
        for step in steps {
            self.take(step);
        }
        self.finish_partial();
        self.append(1);
        self.wait();
        self.running.take().expect("runs").stop();
        let messages = self.receiver.messages();
        if !self.may_repeat {
            prop_assert_eq!(messages.len(), self.written, "some came twice");
        }
        prop_assert!(messages.iter().all(|message| message.starts_with("line-")));
        Ok(())
    }

    fn take(&mut self, step: &Step) {
        let log = self.place.log("app.log");
        match step {
            Step::Append(count) => self.append(*count),
            Step::AppendPartial if !self.partial => {
                self.place.append("app.log", "line-");
                self.partial = true;
            }
            Step::AppendPartial => self.append(1),
            Step::Rename => {
                self.finish_partial();
                self.rotations += 1;
                let to = self.place.log(&format!("app.log.{}", self.rotations));
                // There may be no file yet.
                drop(std::fs::rename(log, to));
            }
            Step::CopyTruncate => {
                // Nothing is waited for: what is not read yet is in the copy.
                self.finish_partial();
                self.rotations += 1;
                let to = self.place.log(&format!("app.log.{}", self.rotations));
                if std::fs::copy(&log, to).is_ok() {
                    let file = OpenOptions::new().write(true).open(log);
                    file.expect("opens").set_len(0).expect("truncates");
                }
            }
            Step::CompressWhileDown(count) => {
                // A file that was never seen before it was compressed is not known for a log.
                self.append(1);
                self.wait();
                self.running.take().expect("runs").stop();
                self.append(*count);
                self.finish_partial();
                self.rotations += 1;
                let text = std::fs::read(&log).expect("reads");
                let name = format!("app.log.{}.gz", self.rotations);
                let mut packed = Vec::new();
                // Two members.
                for part in [&text[..text.len() / 2], &text[text.len() / 2..]] {
                    let level = flate2::Compression::fast();
                    let mut encoder = flate2::write::GzEncoder::new(&mut packed, level);
                    encoder.write_all(part).expect("packs");
                    encoder.finish().expect("packs");
                }
                std::fs::write(self.place.log(&name), packed).expect("writes");
                std::fs::remove_file(log).expect("removes");
                self.running = Some(Running::start(&self.config));
            }
            Step::Delete => {
                self.finish_partial();
                self.wait();
                drop(std::fs::remove_file(log));
            }
            Step::Restart => {
                let running = self.running.take().expect("runs");
                let outcome = running.stop();
                assert_eq!(outcome.events_left, 0);
                self.running = Some(Running::start(&self.config));
            }
            Step::Kill => {
                self.may_repeat = true;
                self.running.take().expect("runs").kill();
                self.running = Some(Running::start(&self.config));
            }
            Step::AppendWhileDown(count) => {
                self.running.take().expect("runs").stop();
                self.append(*count);
                self.rotations += 1;
                self.finish_partial();
                let to = self.place.log(&format!("app.log.{}", self.rotations));
                std::fs::rename(log, to).expect("renames");
                self.running = Some(Running::start(&self.config));
            }
            Step::Wait => self.wait(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        max_shrink_iters: 20,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_line_is_missing_whatever_happens(
        steps in proptest::collection::vec(step(), 1..14)
    ) {
        History::new().run(&steps)?;
    }
}

/// Each in some of its runs.
#[test]
fn histories_that_failed_before() {
    use Step::{
        Append, AppendPartial, CompressWhileDown, CopyTruncate, Delete, Rename, Restart, Wait,
    };
    let histories: [&[Step]; 2] = [
        // The copy came twice: its original had been renamed before it was looked at.
        &[
            Restart,
            Wait,
            Rename,
            Wait,
            Restart,
            Append(87),
            AppendPartial,
            Restart,
            CopyTruncate,
            Rename,
            CopyTruncate,
        ],
        // The compressed twin was not read to its end: another file hid it in the registry.
        &[
            CompressWhileDown(286),
            Delete,
            Rename,
            Append(144),
            Rename,
            Rename,
            CompressWhileDown(24),
            AppendPartial,
            Append(218),
        ],
    ];
    for history in histories {
        for _ in 0..5 {
            let outcome = History::new().run(history);
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}
