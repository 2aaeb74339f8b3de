//! `trireme block analyze`.

use std::path::PathBuf;

use serde_json::json;
use trireme_block::{Block, BlockAnalysis, analyze};

use super::{Output, block_dirs, columns, size_text, time_text};
use crate::commands::print_line;

/// Shows what a block is made of: encodings, bytes per sample, and which names and labels take most series.
#[derive(clap::Args)]
pub struct Args {
    /// Block, or a directory of blocks of which the newest is shown.
    dir: PathBuf,
    /// Entries of each list.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let dir = block_dirs(&args.dir)?
        .pop()
        .expect("block_dirs gives at least one");
    let block = Block::open(&dir)?;
    let analysis = analyze(&block, args.limit)?;

    print_line(&match args.output {
        Output::Table => table(&block, &analysis),
        Output::Json => serde_json::to_string_pretty(&as_json(&block, &analysis))?,
    });

    Ok(())
}

fn as_json(block: &Block, analysis: &BlockAnalysis) -> serde_json::Value {
    let encodings = analysis.encodings.iter().map(|(encoding, stats)| {
        json!({"encoding": format!("{encoding:?}"), "chunks": stats.chunks, "bytes": stats.bytes, "samples": stats.samples})
    });

    let pairs = analysis.series_of_pairs.iter();
    json!({
        "meta": block.meta(),
        "series": analysis.series,
        "symbols": analysis.symbols,
        "index_bytes": analysis.index_bytes,
        "encodings": encodings.collect::<Vec<_>>(),
        "values_of_names": counts(&analysis.values_of_names),
        "series_of_metrics": counts(&analysis.series_of_metrics),
        "series_of_pairs": pairs.map(|((name, value), n)| json!({"name": name, "value": value, "count": n})).collect::<Vec<_>>(),
    })
}

fn counts(list: &[(String, u64)]) -> Vec<serde_json::Value> {
    list.iter()
        .map(|(name, n)| json!({"name": name, "count": n}))
        .collect()
}

fn table(block: &Block, analysis: &BlockAnalysis) -> String {
    let meta = block.meta();
    let mut text = format!(
        "block {}\nfrom {} to {} (UTC, end exclusive)\n{} series, {} symbols, index {}\n",
        meta.ulid,
        time_text(meta.min_time),
        time_text(meta.max_time),
        analysis.series,
        analysis.symbols,
        size_text(analysis.index_bytes),
    );

    text.push_str(&format!("\n{}\n", encodings(analysis)));
    let metrics = analysis
        .series_of_metrics
        .iter()
        .map(|(name, n)| vec![name.clone(), n.to_string()]);

    text.push_str(&list("metric", "series", metrics));
    let names = analysis
        .values_of_names
        .iter()
        .map(|(name, n)| vec![name.clone(), n.to_string()]);

    text.push_str(&list("label name", "values", names));
    let pairs = analysis
        .series_of_pairs
        .iter()
        .map(|((name, value), n)| vec![format!("{name}={value:?}"), n.to_string()]);

    text.push_str(&list("label", "series", pairs));
    text.truncate(text.trim_end().len());
    text
}

/// A row for each encoding of chunks.
fn encodings(analysis: &BlockAnalysis) -> String {
    let head = [
        "encoding",
        "chunks",
        "samples",
        "bytes",
        "B/sample",
        "samples/chunk",
    ];

    let mut rows = vec![head.map(String::from).to_vec()];
    for (encoding, stats) in &analysis.encodings {
        rows.push(vec![
            format!("{encoding:?}"),
            stats.chunks.to_string(),
            stats.samples.to_string(),
            stats.bytes.to_string(),
            format!("{:.2}", stats.bytes as f64 / stats.samples.max(1) as f64),
            format!("{:.1}", stats.samples as f64 / stats.chunks.max(1) as f64),
        ]);
    }

    columns(&rows, 1)
}

fn list(what: &str, count: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut all = vec![vec![what.to_string(), count.to_string()]];
    all.extend(rows);
    format!("\n{}\n", columns(&all, 1))
}
