//! The machine underneath: its cores, its limits, and the key that interrupts a run.

use anyhow::{Context, Result, bail};
use std::{
    fs, io,
    mem::{self, MaybeUninit},
    sync::atomic::{AtomicBool, Ordering},
};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C ends a run in order, with every child stopped; the second ends it at once.
pub fn listen_for_interrupts() {
    extern "C" fn note(_signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: an all-zero sigaction is a valid one, and the handler only stores to an atomic.
        // A failure leaves the default, which ends the run too, if less tidily.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Whether somebody wants the run to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An error once somebody wants the run to end.
pub fn check_interrupt() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// What the figures were measured on, in a line.
pub fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} cores of {}, Linux {}, load before the run {}",
        cores().map_or(0, |cores| cores.len()),
        model.unwrap_or("an unknown CPU"),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
    )
}

/// The cores that this thread may run on.
pub fn cores() -> Result<Vec<usize>> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: writes at most the set's size.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) } != 0;
    if failed {
        return Err(io::Error::last_os_error()).context("asking for the cores");
    }
    // SAFETY: zeroed is a valid set, and the call has filled it.
    let set = unsafe { set.assume_init() };
    // SAFETY: every index is below the set's size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Confines this thread, and what it starts, to some cores. Safe between fork and exec: no allocation.
pub fn confine_to(cores: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero set is the empty one; CPU_SET ignores indices beyond it.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for &core in cores {
            libc::CPU_SET(core, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps this thread, and what it starts meanwhile, on some cores until it is dropped.
pub struct Confined {
    before: Vec<usize>,
}

impl Confined {
    /// Confines this thread.
    pub fn to(cores: &[usize]) -> Result<Self> {
        let before = self::cores()?;
        confine_to(cores).with_context(|| format!("keeping to cores {cores:?}"))?;
        Ok(Self { before })
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        // The cores were this thread's a moment ago; where they are no longer, fewer will do.
        let _ = confine_to(&self.before);
    }
}

/// Lets every other thread of this process go first.
pub fn go_last() {
    // SAFETY: on Linux the niceness of 0 is this thread's own; being nicer is always allowed.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// Wakes this thread when its sleep ends, and not up to 50 µs later.
pub fn wake_on_time() {
    // SAFETY: changes the timer slack of this thread alone; where that fails, it wakes later.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Raises the limit of open files as far as it goes, for this process and what it starts, and returns it.
pub fn raise_open_files() -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes and reads one rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return Err(io::Error::last_os_error()).context("asking for the limit of open files");
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            return Err(io::Error::last_os_error()).context("raising the limit of open files");
        }
    }
    Ok(limit.rlim_cur)
}
