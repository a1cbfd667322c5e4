//! The process as Linux sees it, under the standard names that every Prometheus dashboard knows.

use super::exposition::{Kind, Page};

/// Linux counts CPU time for programs in hundredths of a second on every platform we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What `/proc` says about us; zero where it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    pub max_fds: u64,
    pub threads: u64,
    /// Since 1970.
    pub start_seconds: f64,
}

impl Process {
    /// Reads `/proc`. Quick, but not asynchronous; the files are not on any disk.
    #[must_use]
    pub fn read() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let open_fds = std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
        Self::parse(
            &file("/proc/self/stat"),
            &file("/proc/self/status"),
            &file("/proc/self/limits"),
            &file("/proc/stat"),
            open_fds,
        )
    }

    fn parse(stat: &str, status: &str, limits: &str, machine: &str, open_fds: u64) -> Self {
        // Fields after the command name, which is in parentheses and may contain anything: the state is field 3 of proc(5).
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        let boot: f64 = after(machine, "btime").unwrap_or_default();
        Self {
            cpu_seconds: (ticks(14) + ticks(15)) / TICKS_PER_SECOND,
            resident_bytes: after::<u64>(status, "VmRSS:").unwrap_or_default() * 1024,
            virtual_bytes: after::<u64>(status, "VmSize:").unwrap_or_default() * 1024,
            open_fds,
            max_fds: after(limits, "Max open files").unwrap_or_default(),
            threads: after(status, "Threads:").unwrap_or_default(),
            start_seconds: boot + ticks(22) / TICKS_PER_SECOND,
        }
    }
}

/// The number behind `label` at the beginning of a line.
fn after<T: std::str::FromStr>(text: &str, label: &str) -> Option<T> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()?.parse().ok()
}

pub(super) fn render(page: &mut Page, process: &Process) {
    let mut one = |name: &str, kind, help: &str, value: f64| page.standard(name, kind, help).labelled(&[], value);
    one("process_cpu_seconds_total", Kind::Counter, "Time spent on the CPU, user and system.", process.cpu_seconds);
    one("process_resident_memory_bytes", Kind::Gauge, "Memory in RAM.", process.resident_bytes as f64);
    one("process_virtual_memory_bytes", Kind::Gauge, "Address space.", process.virtual_bytes as f64);
    one("process_open_fds", Kind::Gauge, "Open files and sockets.", process.open_fds as f64);
    one("process_max_fds", Kind::Gauge, "How many files and sockets may be open.", process.max_fds as f64);
    one("process_threads", Kind::Gauge, "Threads of the process.", process.threads as f64);
    one("process_start_time_seconds", Kind::Gauge, "When the process started, since 1970.", process.start_seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 9 0 1000 1 1\n";
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t    64 kB\nThreads:\t9\n";
        let limits = "Limit  Soft Hard\nMax open files            1024                 4096                 files\n";
        let machine = "cpu 1 2\nbtime 1700000000\n";
        assert_eq!(
            Process::parse(stat, status, limits, machine, 7),
            Process {
                cpu_seconds: 2.0,
                resident_bytes: 65_536,
                virtual_bytes: 2_097_152,
                open_fds: 7,
                max_fds: 1024,
                threads: 9,
                start_seconds: 1_700_000_010.0,
            }
        );
    }

    #[test]
    fn without_proc_everything_is_zero() {
        assert_eq!(Process::parse("", "", "", "", 0), Process::default());
    }

    #[test]
    fn this_process_lives() {
        let process = Process::read();
        assert!(process.resident_bytes > 0 && process.open_fds > 0 && process.threads > 0 && process.max_fds > 0);
        assert!(process.start_seconds > 1_000_000_000.0);
    }
}
