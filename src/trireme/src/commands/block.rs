//! `trireme block`: looks into Prometheus blocks on disk, and makes coarser ones of them.

mod analyze;
mod downsample;
mod dump;
mod ls;
mod verify;

pub use verify::faults_json;

/// Looks into blocks in Prometheus's format, whoever wrote them, and makes coarser ones of them.
#[derive(clap::Subcommand)]
pub enum Command {
    Ls(ls::Args),
    Analyze(analyze::Args),
    Verify(verify::Args),
    Dump(dump::Args),
    Downsample(downsample::Args),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

/// Runs the command.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Ls(args) => ls::run(args),
        Command::Analyze(args) => analyze::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Downsample(args) => downsample::run(args),
    }
}

/// The block directories meant by `dir`: itself if it is a block, else every block in it, by ULID.
fn block_dirs(dir: &std::path::Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    if dir.join(trireme_block::META_FILE).is_file() {
        return Ok(vec![dir.to_path_buf()]);
    }

    let entries = std::fs::read_dir(dir)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", dir.display()))?;
    let mut dirs: Vec<_> = entries
        .flatten()
        .filter(|e| {
            e.file_name().to_str().is_some_and(|name: &str| {
                name.len() == 26 && name.bytes().all(|b| b.is_ascii_alphanumeric())
            })
        })
        .map(|e| e.path())
        .collect();

    dirs.sort();
    anyhow::ensure!(
        !dirs.is_empty(),
        "{} is no block and holds none",
        dir.display()
    );

    Ok(dirs)
}

/// A point in time for a person (UTC), or the milliseconds if they are out of any calendar.
pub fn time_text(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms);
    time.map_or_else(
        |_| ms.to_string(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Bytes with a unit.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

    let mut value = bytes as f64;

    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }

    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Rows side by side, the first `left` columns flush left.
pub fn columns(rows: &[Vec<String>], left: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(|column| width(rows, column)).collect();
    let lines: Vec<String> = rows.iter().map(|row| line(row, &widths, left)).collect();
    lines.join("\n")
}

/// The most characters in a cell of a column.
pub fn width(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter()
        .filter_map(|row| row.get(column))
        .map(|cell| cell.chars().count())
        .max()
        .unwrap_or(0)
}

fn line(row: &[String], widths: &[usize], left: usize) -> String {
    let cells = row.iter().zip(widths).enumerate();
    let cells: Vec<String> = cells
        .map(|(index, (cell, width))| {
            if index < left {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        })
        .collect();
    cells.join("  ").trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        let shown: Vec<_> = [999, 1_024, 1_572_864, 5 << 40].map(size_text).into();
        assert_eq!(shown, ["999 B", "1.0 KiB", "1.5 MiB", "5.0 TiB"]);
        assert_eq!(time_text(1_700_000_000_000), "2023-11-14 22:13:20");
        assert_eq!(time_text(i64::MIN), i64::MIN.to_string());
    }

    #[test]
    fn a_directory_without_blocks_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("wal")).expect("made");
        assert!(
            format!("{}", block_dirs(dir.path()).expect_err("no block")).contains("holds none")
        );

        let block = dir.path().join("01HZXYABCDEFGHJKMNPQRSTVWX");
        std::fs::create_dir(&block).expect("made");
        assert_eq!(block_dirs(dir.path()).expect("one block"), vec![block]);
    }
}
