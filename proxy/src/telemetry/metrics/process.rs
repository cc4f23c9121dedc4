//! What Prometheus client libraries tell of a process, read from `/proc`. Where there is none, or
//! it cannot be read, those metrics are missing.

use super::{Metric, Samples};
use std::fs;

/// Parts of a second in which the kernel counts time for `/proc`: 100 on every architecture, since
/// it has been part of its interface.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn collect(out: &mut Samples) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (stat, system) = (read("/proc/self/stat"), read("/proc/stat"));
    let mut put = |metric, value: Option<f64>| {
        if let Some(value) = value {
            out.put(metric, &[], value);
        }
    };
    put(Metric::ProcessCpuSeconds, cpu_seconds(&stat));
    put(Metric::ProcessStartTime, start_time(&stat, &system));
    put(Metric::ProcessResidentMemory, resident_bytes(&read("/proc/self/status")));
    put(Metric::ProcessMaxFds, open_files_max(&read("/proc/self/limits")));
    // Without the one that is open for looking.
    put(Metric::ProcessOpenFds, fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64 - 1.0));
}

/// A field of `/proc/self/stat`, numbered as in proc(5). The second, the program's name, may hold
/// spaces and brackets, so the count begins behind it.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, system: &str) -> Option<f64> {
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<f64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kibibytes.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

/// The soft limit; none where there is none.
fn open_files_max(limits: &str) -> Option<f64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_by_its_manual() {
        let stat = "42 (toll) gate) S 1 42 42 0 -1 4194560 9 8 7 6 150 50 0 0 20 0 3 0 12345 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(start_time(stat, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_123.45));
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n"), Some(1_263_616.0));
        let limits = "Limit       Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(open_files_max(limits), Some(1024.0));
        assert_eq!(open_files_max("Max open files  unlimited  unlimited  files\n"), None);
        assert_eq!((cpu_seconds(""), start_time("", ""), resident_bytes("")), (None, None, None));
    }
}
