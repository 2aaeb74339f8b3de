//! What a process used, from `/proc` (Linux).

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use trireme_base::Clock;

/// Receivers put work off: VictoriaMetrics writes its memory to disk every five seconds, others sync every second.
const REST_MIN: Duration = Duration::from_secs(6);
/// How often processes are looked at until they are at rest, and how many such times they must be quiet.
const POLL: Duration = Duration::from_millis(250);
const QUIET_POLLS: u32 = 4;

/// CPU and bytes of a set of processes since each of them started, and their memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time.
    pub cpu_s: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// Sum of each process's highest resident memory.
    pub peak_rss_bytes: u64,
    /// Bytes the processes caused to be written to storage.
    pub written_bytes: u64,
}

/// The receivers that are measured.
pub struct Processes {
    pids: Vec<u32>,
    ticks_per_s: f64,
}

impl Processes {
    /// The given processes and those whose ids stand in `files`.
    pub fn new(pids: &[u32], files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut all = pids.to_vec();
        for file in files {
            all.push(read_pid(file)?);
        }

        all.sort_unstable();
        all.dedup();
        let processes = Self {
            pids: all,
            ticks_per_s: ticks_per_second(),
        };

        processes.usage()?;
        Ok(processes)
    }

    /// This process.
    pub fn own() -> Self {
        Self {
            pids: vec![std::process::id()],
            ticks_per_s: ticks_per_second(),
        }
    }

    /// True if nothing is measured.
    pub fn is_empty(&self) -> bool {
        self.pids.is_empty()
    }

    /// The sum over all processes. An error names the process that cannot be read (ended, or not ours).
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage::default();
        for pid in &self.pids {
            let status = read_proc(*pid, "status")?;
            let stat = read_proc(*pid, "stat")?;
            let ticks = cpu_ticks(&stat).with_context(|| format!("process {pid}: stat"))?;

            sum.cpu_s += ticks as f64 / self.ticks_per_s;
            sum.rss_bytes += field(&status, "VmRSS:").unwrap_or(0) * 1_024;
            sum.peak_rss_bytes += field(&status, "VmHWM:").unwrap_or(0) * 1_024;

            // Needs the same user; without it the rest is still worth having.
            sum.written_bytes += read_proc(*pid, "io")
                .ok()
                .and_then(|io| field(&io, "write_bytes:"))
                .unwrap_or(0);
        }

        Ok(sum)
    }

    /// Waits until the processes used less than 3 % of a core each for a second, at least [`REST_MIN`], and until
    /// `limit` at most. Gives the usage and the monotonic time at the end of the last busy stretch.
    pub fn at_rest(&self, clock: &dyn Clock, limit: Duration) -> anyhow::Result<(Usage, Duration)> {
        let begin = clock.monotonic();
        let mut busy_until = begin;
        let mut last = self.usage()?;
        if self.is_empty() {
            return Ok((last, begin));
        }

        let mut polls = VecDeque::from([last.cpu_s]);
        while clock.monotonic() - begin < limit {
            std::thread::sleep(POLL);
            last = self.usage()?;

            if last.cpu_s - polls.back().copied().unwrap_or(0.0) > 0.02 * self.pids.len() as f64 {
                busy_until = clock.monotonic();
            }

            polls.push_back(last.cpu_s);
            if polls.len() > QUIET_POLLS as usize {
                let oldest = polls.pop_front().unwrap_or(0.0);
                let is_quiet = last.cpu_s - oldest <= self.quiet_cpu_s();
                if is_quiet && clock.monotonic() - begin >= REST_MIN {
                    break;
                }
            }
        }

        Ok((last, busy_until))
    }

    /// What the processes may use over the last polls and count as at rest.
    fn quiet_cpu_s(&self) -> f64 {
        let polls = POLL.as_secs_f64() * f64::from(QUIET_POLLS);
        let allowed = 0.03 * polls * self.pids.len() as f64;
        allowed.max(1.0 / self.ticks_per_s)
    }
}

fn read_proc(pid: u32, name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(format!("/proc/{pid}/{name}"))
        .with_context(|| format!("process {pid}: cannot read {name}"))
}

/// Clock ticks in which the kernel counts CPU time.
#[allow(unsafe_code)]
fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes no pointers and has no preconditions.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

fn read_pid(file: &Path) -> anyhow::Result<u32> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.trim()
        .parse()
        .with_context(|| format!("{} holds no process id: {:?}", file.display(), text.trim()))
}

/// User and system ticks of a `/proc/PID/stat` line; the command in parentheses may itself hold parentheses.
fn cpu_ticks(stat: &str) -> anyhow::Result<u64> {
    let Some((_, rest)) = stat.rsplit_once(')') else {
        bail!("no command in parentheses")
    };

    let fields = rest.split_ascii_whitespace().skip(11);
    let ticks: Vec<u64> = fields
        .take(2)
        .map(|field| field.parse().context("not a number"))
        .collect::<anyhow::Result<_>>()?;

    anyhow::ensure!(ticks.len() == 2, "too few fields");
    Ok(ticks.iter().sum())
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line[name.len()..]
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ticks_behind_a_command_with_parentheses() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 70 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(line).expect("valid"), 100);
        assert!(cpu_ticks("42 nothing").is_err());
    }

    #[test]
    fn own_process_has_memory() {
        let usage = Processes::own().usage().expect("own process can be read");
        assert!(usage.rss_bytes > 0 && usage.peak_rss_bytes >= usage.rss_bytes);
    }

    #[test]
    fn names_a_process_that_is_gone() {
        let error = Processes::new(&[u32::MAX], &[])
            .err()
            .expect("no such process");
        assert!(format!("{error:#}").contains("4294967295"), "{error:#}");
    }
}
