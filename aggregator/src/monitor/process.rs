//! What the system says of this process. What cannot be read is 0.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes in memory.
    pub resident: u64,
    /// Bytes of addresses.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Time of all processors.
    pub processor: Duration,
    /// Files and sockets that are open.
    pub open_files: u64,
    /// How many there can be.
    pub max_files: u64,
    /// The load of the machine, over 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

impl Usage {
    /// What it uses now.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .unwrap_or(0_u64)
        };
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut load = load
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0.0));
        Self {
            resident: number("VmRSS:") << 10,
            virtual_bytes: number("VmSize:") << 10,
            threads: number("Threads:"),
            processor: Duration::new(
                time.tv_sec.unsigned_abs(),
                u32::try_from(time.tv_nsec).unwrap_or(0),
            ),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            max_files: getrlimit(Resource::Nofile).current.unwrap_or(0),
            load: std::array::from_fn(|_| load.next().unwrap_or(0.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.resident > 1 << 20 && usage.virtual_bytes >= usage.resident);
        assert!(usage.threads >= 1 && usage.open_files >= 3 && usage.max_files > 3);
        assert!(usage.processor > Duration::ZERO);
    }
}
