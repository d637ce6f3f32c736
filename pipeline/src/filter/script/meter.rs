//! What a script may use up for one event: instructions, bytes and time.
//!
//! Lua's virtual machine counts its own instructions and its own memory. What the functions that are
//! handed to a script do besides is charged here: steps of patterns as fractions of
//! instructions, values that are put into the event as bytes.
//!
//! INVARIANT: once a limit is hit it stays hit until the next event, so that a script that catches
//! the error fails again at the next look.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use mlua::{Error, Result};

/// The limits of a script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Instructions of the virtual machine, for each event.
    pub(super) instructions: u64,
    /// Bytes of the virtual machine, in each worker; and bytes that one event may gain.
    pub(super) memory: usize,
    /// Time, for each event.
    pub(super) timeout: Duration,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Instructions,
    Memory,
    Time,
}

/// How many instructions pass between two looks. A single one may take long (texts of megabytes
/// are joined and compared), so looks are frequent.
pub(super) const LOOK_EVERY: u32 = 100;
/// How many steps of a pattern, or bytes that are looked at, make an instruction.
const STEPS_PER_INSTRUCTION: u64 = 8;

/// The meter of one virtual machine.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Limits,
    instructions: Cell<u64>,
    bytes: Cell<usize>,
    deadline: Cell<Option<Instant>>,
    hit: Cell<Option<Limit>>,
    /// The line that was running when it was hit.
    line: Cell<Option<usize>>,
    chunk: RefCell<String>,
}

impl Meter {
    pub(super) fn new(limits: Limits, chunk: &str) -> Self {
        Self {
            limits,
            instructions: Cell::new(limits.instructions),
            bytes: Cell::new(limits.memory),
            deadline: Cell::new(None),
            hit: Cell::new(None),
            line: Cell::new(None),
            chunk: RefCell::new(chunk.to_owned()),
        }
    }

    /// Starts anew, for the next event.
    pub(super) fn start(&self) {
        self.instructions.set(self.limits.instructions);
        self.bytes.set(self.limits.memory);
        // Looked up at the first look: most events are done before it.
        self.deadline.set(None);
        self.hit.set(None);
        self.line.set(None);
    }

    /// The limit that was hit.
    pub(super) fn hit(&self) -> Option<Limit> {
        self.hit.get()
    }

    /// The line that was running when it was hit.
    pub(super) fn line(&self) -> Option<usize> {
        self.line.get()
    }

    /// Names the part of the script that runs, whose lines are told.
    pub(super) fn set_chunk(&self, chunk: &str) {
        chunk.clone_into(&mut self.chunk.borrow_mut());
    }

    /// A look at the limits after [`LOOK_EVERY`] instructions.
    pub(super) fn look(&self, place: impl Fn() -> (Option<String>, Option<usize>)) -> Result<()> {
        let now = Instant::now();
        let late = match self.deadline.get() {
            Some(deadline) => now >= deadline,
            None => {
                self.deadline.set(now.checked_add(self.limits.timeout));
                false
            }
        };
        let answer = if late {
            self.fail(Limit::Time)
        } else {
            self.charge_instructions(u64::from(LOOK_EVERY))
        };
        if answer.is_err() && self.line.get().is_none() {
            let (chunk, line) = place();
            if chunk.as_deref() == Some(&self.chunk.borrow()) {
                self.line.set(line);
            }
        }
        answer
    }

    /// Takes instructions off.
    pub(super) fn charge_instructions(&self, count: u64) -> Result<()> {
        if let Some(limit) = self.hit.get() {
            return self.fail(limit);
        }
        match self.instructions.get().checked_sub(count) {
            Some(left) => {
                self.instructions.set(left);
                Ok(())
            }
            None => self.fail(Limit::Instructions),
        }
    }

    /// Takes the time for so many bytes off.
    pub(super) fn charge_length(&self, bytes: usize) -> Result<()> {
        self.charge_instructions(1 + bytes as u64 / STEPS_PER_INSTRUCTION)
    }

    /// Lends the steps that are left to `work`, and takes off what it used.
    pub(super) fn with_steps<T>(&self, work: impl FnOnce(&mut u64) -> T) -> T {
        let all = self
            .instructions
            .get()
            .saturating_mul(STEPS_PER_INSTRUCTION);
        let mut left = all;
        let result = work(&mut left);
        let used = (all - left).div_ceil(STEPS_PER_INSTRUCTION);
        self.instructions
            .set(self.instructions.get().saturating_sub(used));
        result
    }

    /// How many bytes are left.
    pub(super) fn bytes_left(&self) -> usize {
        self.bytes.get()
    }

    /// Takes bytes off that go into the event.
    pub(super) fn charge_bytes(&self, count: usize) -> Result<()> {
        match self.bytes.get().checked_sub(count) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => self.fail(Limit::Memory),
        }
    }

    /// Notes that a limit is hit.
    pub(super) fn fail<T>(&self, limit: Limit) -> Result<T> {
        self.hit.set(Some(limit));
        Err(Error::runtime(self.describe(limit)))
    }

    /// What to tell of a limit.
    pub(super) fn describe(&self, limit: Limit) -> String {
        match limit {
            Limit::Instructions => format!(
                "stopped after {} instructions (`max_instructions`)",
                self.limits.instructions
            ),
            Limit::Memory => format!(
                "stopped at {} bytes of memory (`max_memory`)",
                self.limits.memory
            ),
            Limit::Time => format!(
                "stopped after {} ms (`timeout`)",
                self.limits.timeout.as_millis()
            ),
        }
    }
}
