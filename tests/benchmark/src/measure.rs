//! What a proxy has cost: the CPU time and the memory of its processes, and how measurements of it spread.

use anyhow::{Context, Result, bail};
use std::{collections::HashMap, fs, io, mem::MaybeUninit, time::Duration};

/// The CPU time, user and system, of a process and its descendants since they began.
///
/// Read from each process's CPU clock: nanoseconds, every thread, those that have ended too. It is the
/// counter behind utime and stime in `/proc/PID/stat`, without their rounding to ticks of 10 ms.
pub fn cpu_time(root: u32) -> Result<Duration> {
    family(root)?.into_iter().map(process_cpu_time).sum()
}

fn process_cpu_time(pid: u32) -> Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clockid_t.
    let error = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error))
            .with_context(|| format!("CPU clock of process {pid}"));
    }
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: writes one timespec, or fails.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("CPU time of process {pid}"));
    }
    // SAFETY: the call above succeeded.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

/// The memory of a process and its descendants.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    /// Resident now. Pages that processes share count for each of them.
    pub resident_bytes: u64,
    /// The most that was ever resident, of each process.
    pub peak_bytes: u64,
}

/// Reads the memory of a process and its descendants.
pub fn memory(root: u32) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in family(root)? {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("memory of process {pid}"))?;
        sum.resident_bytes += kilobytes(&status, "VmRSS:")? * 1024;
        sum.peak_bytes += kilobytes(&status, "VmHWM:")? * 1024;
    }
    Ok(sum)
}

fn kilobytes(status: &str, field: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let Some(figure) = line.and_then(|line| line.split_whitespace().next()) else {
        bail!("no {field} in /proc/PID/status");
    };
    Ok(figure.parse()?)
}

/// A process and all that descend from it.
fn family(root: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that has ended since the directory was read is nobody's descendant.
        let Some(parent) = parent(pid) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut family = vec![root];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        family.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    Ok(family)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state parent …, and a name may hold blanks and brackets.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// How the rounds of one measurement spread.
#[derive(Clone, Copy)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// The spread of some figures, or `None` of none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Self { median, min, max })
    }
}

/// The value that so many in a hundred do not exceed; `sorted` rises.
pub fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_what_this_process_burns() {
        let before = cpu_time(std::process::id()).unwrap();
        // Ends only if the clock runs.
        while cpu_time(std::process::id()).unwrap() - before < Duration::from_millis(5) {}
        assert!(memory(std::process::id()).unwrap().resident_bytes > 100_000);
    }

    #[test]
    fn spreads_and_percentiles() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 10.0));
        assert!(Spread::of([]).is_none());

        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50.0), Duration::from_millis(50));
        assert_eq!(percentile(&sorted, 99.0), Duration::from_millis(99));
        assert_eq!(percentile(&[], 99.0), Duration::ZERO);
    }
}
