//! Writing a checkpoint.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::BufMut;
use trireme_base::StreamId;
use trireme_model::{Exemplar, MetricMetadata, SeriesKey};

use super::codec::{self, part, put_bytes, put_stream};
use super::verify::verify;
use super::{CHECKPOINT_FILE, CheckpointReport, covered_by_all};
use crate::chunkfile::{CHUNKS_DIR, FileLengths, SyncFile};
use crate::index::{Index, Name};
use crate::series::Series;
use crate::state::State;
use crate::streams::{OwnLogged, Stream};
use crate::tenant::TenantState;
use crate::{HeadError, Shard, files};

/// A part that may have more than one is ended when it has so many bytes.
const PART_BYTES: usize = 1 << 20;

impl Shard {
    /// Writes a checkpoint into the shard's directory and answers what it covers.
    ///
    /// Writes go on meanwhile: the lock is held for the reference tables once and then for a page of series at a
    /// time. `before_publish` runs when everything is on disk and before the file gets its name: make the log
    /// durable there, so that nothing is in the checkpoint that could be missing from the own stream.
    pub fn checkpoint<E: From<HeadError>>(
        &self,
        before_publish: impl FnOnce() -> Result<(), E>,
    ) -> Result<CheckpointReport, E> {
        let _walk = self.maintenance.lock();
        self.trusted()?;
        let result = self.write_checkpoint(before_publish);
        self.state.write().frozen = false;
        result
    }

    fn write_checkpoint<E: From<HeadError>>(
        &self,
        before_publish: impl FnOnce() -> Result<(), E>,
    ) -> Result<CheckpointReport, E> {
        let path = self.options.dir.join(CHECKPOINT_FILE);
        let tmp = path.with_extension("tmp");
        self.leave_suspects()?;

        let mut out = Output::create(&tmp)?;
        // Before the lock: what is logged up to here is in the head already.
        let own = *self.own_logged.lock();
        let (streams, next_ref) = self.freeze();

        self.put_header(&mut out, own, next_ref)?;

        let mut positions: Vec<(StreamId, u64)> = Vec::with_capacity(streams.len() + 1);
        for (id, stream) in streams {
            positions.push((id, stream.applied));
            put_stream_part(&mut out, id, &stream)?;
        }

        positions.push((self.options.own, own.seq));
        let mut known = Known::default();
        let series = self.put_all_series(&mut out, &mut known)?;

        // What the checkpoint refers to must be durable before it.
        let (synced, lengths) = self.sync_chunks()?;
        let mut paths = vec![path.clone()];
        paths.extend(synced);
        let bytes = out.finish()?;

        // The last one stays until a start could read this one.
        verify(&tmp, &self.options, &lengths)?;
        before_publish()?;

        // What panicked meanwhile may be in it.
        self.trusted()?;
        files::publish_checkpoint(&tmp, &path)?;
        self.state.write().files.published();

        let trim_to = std::mem::replace(&mut *self.covered.lock(), positions.clone());
        let trim_to = covered_by_all([trim_to, positions.clone()]);
        Ok(CheckpointReport {
            positions,
            trim_to,
            series,
            bytes,
            files: paths,
        })
    }

    /// Keeps what the checkpoint numbers as it is, and copies the streams with the next own reference.
    fn freeze(&self) -> (Vec<(StreamId, Stream)>, u32) {
        let mut state = self.state.write();
        state.frozen = true;
        (
            state
                .streams
                .iter()
                .map(|(id, stream)| (*id, stream.clone()))
                .collect(),
            state.next_ref,
        )
    }

    /// Writes all series and what their tenants have besides; answers how many series there are.
    fn put_all_series(&self, out: &mut Output, known: &mut Known) -> Result<u64, HeadError> {
        let mut series = 0;

        let pages = self.state.read().series.pages();
        for page in 0..pages {
            series += self.put_page(out, known, page)?;
        }

        self.put_extras(out, known)?;
        let from = begin(&mut out.buffer, part::END);
        out.buffer.put_u64_le(series);
        end(&mut out.buffer, from)?;

        Ok(series)
    }

    /// Makes the chunk files durable; answers which were not yet, and how long all are.
    fn sync_chunks(&self) -> Result<(Vec<PathBuf>, FileLengths), HeadError> {
        let (to_sync, lengths) = {
            let mut state = self.state.write();
            (state.files.flush_for_sync()?, state.files.lengths()?)
        };

        let mut paths = Vec::with_capacity(to_sync.len());
        for file in &to_sync {
            self.sync(file)?;
            paths.push(file.path.to_path_buf());
        }

        files::sync_dir(&self.options.dir.join(CHUNKS_DIR))?;
        Ok((paths, lengths))
    }

    fn sync(&self, file: &SyncFile) -> Result<(), HeadError> {
        let synced = file.sync();
        #[cfg(test)]
        let synced = match std::mem::take(&mut self.state.write().files.fail_sync) {
            true => Err(HeadError::io(
                "sync",
                &file.path,
                std::io::Error::other("a test"),
            )),
            false => synced,
        };

        if synced.is_err() {
            // It would say "done" the next time, whatever was lost.
            self.state.write().files.distrust(file.number);
        }

        synced
    }

    /// Moves all chunks out of files whose sync failed, page by page, while they can still be read.
    fn leave_suspects(&self) -> Result<(), HeadError> {
        let pages = {
            let mut state = self.state.write();
            if !state.files.leave_suspects()? {
                return Ok(());
            }
            state.series.pages()
        };

        for page in 0..pages {
            let mut guard = self.state.write();
            let State { series, files, .. } = &mut *guard;
            for (_, series) in series.page_mut(page) {
                for chunk in series.closed_mut() {
                    if let Some(place) = files.move_chunk(chunk.place()) {
                        chunk.put_at(place);
                    }
                }
            }
        }

        Ok(())
    }

    /// Writes a page of series, and before it what they refer to and is not in the file yet; answers how many there are.
    fn put_page(&self, out: &mut Output, known: &mut Known, page: usize) -> Result<u64, HeadError> {
        let mut series = 0;
        {
            let state = self.state.read();
            let buffer = &mut out.buffer;
            known.put_new(&state, buffer)?;

            let mut from = begin(buffer, part::SERIES);
            for (slot, found) in state.series.page(page) {
                if buffer.len() - from >= PART_BYTES {
                    end(buffer, from)?;
                    from = begin(buffer, part::SERIES);
                }
                codec::put_series(buffer, slot, found, state.lists.get(found.labels));
                series += 1;
            }

            end(buffer, from)?;
            put_starts_part(buffer, state.series.page(page))?;
        }

        out.flush_if_large()?;
        Ok(series)
    }

    fn put_header(&self, out: &mut Output, own: OwnLogged, next_ref: u32) -> Result<(), HeadError> {
        put_start(&mut out.buffer);
        let from = begin(&mut out.buffer, part::HEADER);
        let buffer = &mut out.buffer;

        buffer.put_u16_le(self.options.number);
        buffer.put_u16_le(self.options.shards);
        buffer.put_i64_le(self.options.window_ms);
        put_stream(buffer, self.options.own);
        buffer.put_u64_le(own.seq);
        put_marker(buffer, own.marker);
        buffer.put_u32_le(next_ref);

        end(buffer, from)
    }

    /// Exemplars, metadata and newest times of the tenants that are in the file. One that comes from now on is not: the log
    /// behind the positions has all of it.
    fn put_extras(&self, out: &mut Output, known: &mut Known) -> Result<(), HeadError> {
        // A tenant may have no series.
        known.put_new(&self.state.read(), &mut out.buffer)?;
        for number in 0..known.tenants.len() {
            put_extras_of(&mut out.buffer, number, &self.state.read().tenants[number])?;
            out.flush_if_large()?;
        }
        Ok(())
    }
}

/// What a tenant has besides series, in as many parts as it takes.
fn put_extras_of(out: &mut Vec<u8>, number: usize, tenant: &TenantState) -> Result<(), HeadError> {
    let entries = tenant
        .metadata
        .iter()
        .flat_map(|(metric, all)| all.iter().map(move |one| (metric, one)));
    let mut metadata = entries.peekable();

    let mut exemplars = tenant.exemplars.iter().peekable();
    loop {
        let from = begin(out, part::EXTRAS);
        out.put_u32_le(number as u32);
        out.put_i64_le(tenant.newest);

        let count = begin_count(out);

        let mut n = 0;
        while out.len() - from < PART_BYTES
            && let Some((metric, metadata)) = metadata.next()
        {
            put_metadata(out, metric, metadata);
            n += 1;
        }

        end_count(out, count, n);
        let count = begin_count(out);

        let mut n = 0;
        while out.len() - from < PART_BYTES
            && let Some((key, exemplar)) = exemplars.next()
        {
            put_exemplar(out, *key, exemplar);
            n += 1;
        }

        end_count(out, count, n);
        end(out, from)?;
        if metadata.peek().is_none() && exemplars.peek().is_none() {
            return Ok(());
        }
    }
}

fn put_metadata(out: &mut Vec<u8>, metric: &str, metadata: &MetricMetadata) {
    put_bytes(out, metric.as_bytes());
    out.put_u8(metadata.kind.number());
    put_bytes(out, metadata.unit.as_bytes());
    put_bytes(out, metadata.help.as_bytes());
}

fn put_exemplar(out: &mut Vec<u8>, key: SeriesKey, exemplar: &Exemplar) {
    out.put_u128_le(key.0);
    out.put_i64_le(exemplar.t);
    out.put_u64_le(exemplar.v.to_bits());
    put_bytes(out, exemplar.labels.as_bytes());
}

/// Leaves room for a count that is not known yet; answers where.
fn begin_count(out: &mut Vec<u8>) -> usize {
    out.put_u32_le(0);
    out.len() - 4
}

fn end_count(out: &mut [u8], at: usize, count: u32) {
    out[at..at + 4].copy_from_slice(&count.to_le_bytes());
}

fn put_stream_part(out: &mut Output, id: StreamId, stream: &Stream) -> Result<(), HeadError> {
    let from = begin(&mut out.buffer, part::STREAM);
    put_stream(&mut out.buffer, id);
    out.buffer.put_u64_le(stream.applied);
    put_marker(&mut out.buffer, stream.marker);
    out.buffer.put_u32_le(stream.refs.extent() as u32);

    for (reference, slot) in stream.refs.iter() {
        out.buffer.put_u32_le(reference);
        out.buffer.put_u32_le(slot);
    }

    end(&mut out.buffer, from)?;
    out.flush_if_large()
}

fn put_marker(out: &mut Vec<u8>, marker: Option<i64>) {
    out.put_u8(u8::from(marker.is_some()));
    out.put_i64_le(marker.unwrap_or(0));
}

/// How much of the tenants, names and pairs is in the file.
#[derive(Default)]
struct Known {
    tenants: Vec<(usize, usize)>,
}

impl Known {
    /// Writes what was added since the last page; series that come next may use it.
    fn put_new(&mut self, state: &State, out: &mut Vec<u8>) -> Result<(), HeadError> {
        for (number, tenant) in state.tenants.iter().enumerate() {
            if number == self.tenants.len() {
                self.tenants.push((0, 0));
                put_tenant(out, tenant)?;
            }

            let (names, pairs) = &mut self.tenants[number];

            let index = &tenant.index;
            if *names < index.names.len() {
                put_names(out, number as u32, &index.names[*names..])?;
                *names = index.names.len();
            }

            if *pairs < index.pairs.len() {
                put_pairs(out, number as u32, index, *pairs)?;
                *pairs = index.pairs.len();
            }
        }
        Ok(())
    }
}

fn put_tenant(out: &mut Vec<u8>, tenant: &TenantState) -> Result<(), HeadError> {
    let from = begin(out, part::TENANT);
    put_bytes(out, tenant.tenant.as_str().as_bytes());
    out.put_u32_le(tenant.series as u32);
    out.put_u32_le(tenant.index.pairs.len() as u32);
    end(out, from)
}

fn put_names(out: &mut Vec<u8>, tenant: u32, names: &[Name]) -> Result<(), HeadError> {
    let from = begin(out, part::NAMES);
    out.put_u32_le(tenant);
    for name in names {
        put_bytes(out, name.text.as_bytes());
    }
    end(out, from)
}

/// Writes the pairs of a tenant from number `first` on.
fn put_pairs(out: &mut Vec<u8>, tenant: u32, index: &Index, first: usize) -> Result<(), HeadError> {
    let from = begin(out, part::PAIRS);
    out.put_u32_le(tenant);
    for (id, pair) in index.pairs.iter().enumerate().skip(first) {
        if let Some(pair) = pair {
            out.put_u32_le(id as u32);
            out.put_u32_le(pair.name);
            out.put_u32_le(pair.postings.len() as u32);
            put_bytes(out, pair.value.as_bytes());
        }
    }
    end(out, from)
}

/// Start timestamps of a page, if there are any.
fn put_starts_part<'a>(
    out: &mut Vec<u8>,
    page: impl Iterator<Item = (u32, &'a Series)>,
) -> Result<(), HeadError> {
    let mut from = begin(out, part::STARTS);
    for (slot, series) in page {
        if out.len() - from >= PART_BYTES {
            end(out, from)?;
            from = begin(out, part::STARTS);
        }
        codec::put_starts(out, slot, series);
    }

    if out.len() == from {
        out.truncate(from - part::HEADER_BYTES);
        return Ok(());
    }

    end(out, from)
}

/// Starts a part; answers where its body starts.
fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.put_u8(kind);
    out.put_u64_le(0);
    out.len()
}

/// Ends a part whose body starts at `from`.
fn end(out: &mut [u8], from: usize) -> Result<(), HeadError> {
    let bytes = out.len() - from;
    let length = u32::try_from(bytes).map_err(|_| HeadError::PartTooLarge { bytes })?;
    let crc = crc32c::crc32c(&out[from..]);
    out[from - 8..from - 4].copy_from_slice(&length.to_le_bytes());
    out[from - 4..from].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// A file being written through one buffer.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    buffer: Vec<u8>,
    bytes: u64,
}

/// Magic, version and their checksum.
fn put_start(out: &mut Vec<u8>) {
    let from = out.len();
    out.put_slice(codec::MAGIC);
    out.put_u32_le(codec::VERSION);
    let crc = crc32c::crc32c(&out[from..]);
    out.put_u32_le(crc);
}

impl Output {
    fn create(path: &Path) -> Result<Self, HeadError> {
        let file = File::create(path).map_err(|e| HeadError::io("create", path, e))?;
        // The buffer below does the collecting.
        let file = BufWriter::with_capacity(0, file);

        Ok(Self {
            path: path.to_owned(),
            file,
            buffer: Vec::with_capacity(2 << 20),
            bytes: 0,
        })
    }

    fn flush_if_large(&mut self) -> Result<(), HeadError> {
        if self.buffer.len() >= 1 << 20 {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), HeadError> {
        self.file
            .write_all(&self.buffer)
            .map_err(|e| HeadError::io("write", &self.path, e))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<u64, HeadError> {
        self.flush()?;
        self.file
            .flush()
            .map_err(|e| HeadError::io("write", &self.path, e))?;
        self.file
            .get_ref()
            .sync_all()
            .map_err(|e| HeadError::io("sync", &self.path, e))?;

        Ok(self.bytes)
    }
}
