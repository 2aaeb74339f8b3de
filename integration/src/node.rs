//! One `trireme run` process.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::binary::{fault_library, trireme};
use crate::client::Client;
use crate::faults::Faults;
use crate::wait::{until, until_for};

/// A node may take this long to stop in order.
const STOP_BOUND: Duration = Duration::from_secs(60);

/// A node of a group: its settings, and its process while it runs.
pub struct Node {
    name: String,
    settings: Vec<String>,
    data_dir: PathBuf,
    log: PathBuf,
    mount: Option<String>,
    namespace: Option<String>,
    faults: Option<(PathBuf, Faults)>,
    process: Option<Child>,
    client: Client,
}

impl Node {
    /// A node that is not started yet. `settings` are `KEY=VALUE` and come after those the group needs.
    pub(crate) fn new(
        name: &str,
        root: &Path,
        client: Client,
        settings: Vec<String>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            settings,
            data_dir: root.join(name),
            log: root.join(format!("{name}.log")),
            mount: None,
            namespace: None,
            faults: None,
            process: None,
            client,
        })
    }

    /// Mounts something over the data directory, seen by this process only, before the node starts (needs root).
    /// `how` are arguments of `mount`, for example `-t tmpfs -o size=32m tmpfs`.
    pub fn mount_over_data_dir(&mut self, how: &str) {
        self.mount = Some(how.to_owned());
    }

    /// Runs the process in a network namespace from its next start on.
    pub(crate) fn live_in(&mut self, namespace: String) {
        self.namespace = Some(namespace);
    }

    /// Puts the disk and the clock of the process under the test's command, from its next start on.
    pub fn make_faulty(&mut self) -> anyhow::Result<Faults> {
        let page = self.log.with_extension("faults");
        let faults = Faults::at(&page)?;
        self.faults = Some((page, faults));
        Ok(faults)
    }

    /// Name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Directory that holds everything the node stores.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The data directory as the process sees it, mounts of its own included.
    pub fn data_dir_seen_by_process(&self) -> anyhow::Result<PathBuf> {
        let inside = self
            .data_dir
            .strip_prefix("/")
            .context("data directory is not absolute")?;
        Ok(Path::new("/proc")
            .join(self.pid()?.to_string())
            .join("root")
            .join(inside))
    }

    /// Client of the node's HTTP API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Everything the node has written to standard error since its first start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The command that starts this node, with further settings.
    pub fn command(&self, more: &[&str]) -> anyhow::Result<Command> {
        self.command_of(&["run"], more)
    }

    /// A command of the binary where this node runs, with its settings and further ones.
    pub fn command_of(&self, words_of_command: &[&str], more: &[&str]) -> anyhow::Result<Command> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(OsString::from));
        }

        if let Some(how) = &self.mount {
            let script = format!("mount {how} \"$0\" && exec \"$@\"");
            words.extend(["unshare", "--mount", "sh", "-c", &script].map(OsString::from));
            words.push(self.data_dir.clone().into());
        }

        if let Some((page, _)) = &self.faults {
            let set =
                |name: &str, path: &Path| OsString::from(format!("{name}={}", path.display()));
            words.extend([
                OsString::from("env"),
                set("LD_PRELOAD", fault_library()?),
                set("TRIREME_FAULTS", page),
            ]);
        }

        words.push(trireme()?.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(words_of_command);

        for setting in self
            .settings
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
        {
            command.args(["--set", setting]);
        }

        // Settings of whoever runs the tests must not reach the node.
        for (key, _) in
            std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("TRIREME__"))
        {
            command.env_remove(key);
        }

        Ok(command)
    }

    /// Starts the process; it is not ready yet.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.start_with(&[])
    }

    /// As [`Node::start`], with variables in the environment of this one process.
    pub fn start_with(&mut self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command(&[])?;

        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        command.envs(variables.iter().copied());
        die_with_parent(&mut command);
        self.process = Some(
            command
                .spawn()
                .with_context(|| format!("cannot start {}", self.name))?,
        );

        Ok(())
    }

    /// Waits until the node accepts writes.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let what = format!("{} is ready", self.name);
        let client = self.client.clone();
        let process = self.process.as_mut().context("not started")?;
        let early_end = until(&what, async || {
            let ended = process.try_wait()?;
            ensure!(
                ended.is_some() || client.is_ready().await,
                "/-/ready is not 200"
            );
            Ok(ended)
        });

        match early_end.await? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status} before it was ready", self.name),
        }
    }

    /// Kills the process at once, as `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self
            .process
            .take()
            .with_context(|| format!("{} does not run", self.name))?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) -> anyhow::Result<()> {
        let pid = self.pid()?;

        // SAFETY: sends a signal to a child that was not waited for, so the id is still its own.
        let sent = unsafe { libc::kill(pid as i32, signal) };
        if sent != 0 {
            bail!(
                "signal {signal} to {}: {}",
                self.name,
                io::Error::last_os_error()
            );
        }

        Ok(())
    }

    fn pid(&self) -> anyhow::Result<u32> {
        Ok(self
            .process
            .as_ref()
            .with_context(|| format!("{} does not run", self.name))?
            .id())
    }

    /// Asks the node to stop with SIGTERM and waits for its end.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        self.ended().await
    }

    /// Waits for the process to end by itself or by an earlier signal.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let process = self.process.as_mut().context("does not run")?;
        let status = until_for(&what, STOP_BOUND, async || {
            process.try_wait()?.context("it still runs")
        })
        .await?;

        self.process = None;
        Ok(status)
    }

    /// True if the process was started and did not end.
    pub fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// SIGTERM, and a clean exit.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.terminate().await?;
        if let Some(signal) = status.signal() {
            bail!("{} was ended by signal {signal}", self.name);
        }
        ensure!(status.success(), "{} stopped with {status}", self.name);
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The child is killed when this thread ends, however it ends, so that a broken test run leaves nothing behind.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and touches nothing of this process.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}
