//! A disk of its own for a node, whose power can be cut: what was not synced is gone.
//!
//! The disk is an ext4 image behind a loop device, mounted where only the node's process sees it. What the process has
//! written and not synced lies in the page cache of that file system and not in the image. So a copy of the image,
//! taken while the process stands still, is what a disk holds after the power went.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The kernel's own write-back stays away for this long, so that nothing reaches the image but what was synced.
const COMMIT_SECONDS: u32 = 300;

/// The image of a node's disk.
#[derive(Debug)]
pub struct DiskImage(PathBuf);

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", text.trim_end());
    Ok(())
}

impl DiskImage {
    /// Why disks of their own cannot be made here, if they cannot.
    pub fn missing() -> Option<String> {
        let try_one = || -> anyhow::Result<()> {
            let dir = tempfile::tempdir()?;
            let image = Self::make(&dir.path().join("image"), 16)?;
            let script = format!("mount {} \"$0\"", image.mount_options());
            run(Command::new("unshare")
                .args(["--mount", "sh", "-c", &script])
                .arg(dir.path()))
        };
        try_one()
            .err()
            .map(|error| format!("needs root and loop devices with ext4: {error:#}"))
    }

    /// Makes an image of `megabytes` at `path`; space is taken only as it is used.
    pub fn make(path: &Path, megabytes: u64) -> anyhow::Result<Self> {
        std::fs::File::create(path)?.set_len(megabytes << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }

    /// Arguments of `mount` but the place, for [`crate::Node::mount_over_data_dir`].
    pub fn mount_options(&self) -> String {
        format!("-o loop,commit={COMMIT_SECONDS} {}", self.0.display())
    }

    /// Puts what the disk holds now aside. The process that uses it must stand still.
    pub fn freeze(&self) -> anyhow::Result<()> {
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(&self.0)
            .arg(self.frozen()))
    }

    /// Makes what was put aside the disk; the process must be gone.
    pub fn thaw(&self) -> anyhow::Result<()> {
        // Another file in the old one's place: the kernel may still write the lost pages to the old one.
        Ok(std::fs::rename(self.frozen(), &self.0)?)
    }

    fn frozen(&self) -> PathBuf {
        self.0.with_extension("frozen")
    }
}
