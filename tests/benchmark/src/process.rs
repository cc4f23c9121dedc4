//! Child processes that never outlive the run: stopped when dropped, with all that they started, and
//! told to end by the kernel should the benchmark itself be killed.

use crate::machine;
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// Time for a proxy to end in order before it is killed.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);

/// A running child and what it says.
pub struct Process {
    child: Child,
    name: String,
    output: PathBuf,
}

impl Process {
    /// Starts a program in a process group of its own, on these cores only if some are named. What it
    /// prints goes to the file `output`.
    pub fn start(name: &str, mut command: Command, output: &Path, cores: Option<&[usize]>) -> Result<Self> {
        let log = File::create(output).with_context(|| format!("creating {}", output.display()))?;
        command.stdout(log.try_clone()?).stderr(log).process_group(0);
        let cores = cores.map(<[usize]>::to_vec);
        let before_exec = move || {
            // SAFETY: sets an attribute of this process. SIGTERM, not SIGKILL: nginx takes its workers along.
            if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
                return Err(io::Error::last_os_error());
            }
            cores.as_ref().map_or(Ok(()), |cores| machine::confine_to(cores))
        };
        // SAFETY: between fork and exec it makes two system calls and allocates nothing.
        unsafe { command.pre_exec(before_exec) };
        let child = command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        Ok(Self { child, name: name.to_owned(), output: output.to_owned() })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error, with its last words, once it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has ended ({status}); its last words:\n{}", self.name, self.last_words());
        }
        Ok(())
    }

    /// The end of what it has said.
    pub fn last_words(&self) -> String {
        let said = fs::read(&self.output).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn signal_group(&self, signal: libc::c_int) {
        // SAFETY: sends a signal to the group that this child leads. It has not been waited for yet, so
        // its number belongs to nobody else.
        unsafe { libc::kill(-self.child.id().cast_signed(), signal) };
    }

    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        self.signal_group(libc::SIGTERM);
        if self.wait_until(Instant::now() + STOP_TIME_MAX).is_none() {
            self.signal_group(libc::SIGKILL);
            // Killed: it ends, and nothing is left to do where waiting for it fails.
            let _ = self.child.wait();
        }
    }
}
