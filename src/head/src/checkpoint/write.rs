//! Writing a checkpoint.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::BufMut;
use trireme_base::StreamId;

use super::codec::{self, part, put_bytes, put_stream};
use super::{CHECKPOINT_FILE, CheckpointReport};
use crate::chunkfile::CHUNKS_DIR;
use crate::series::Series;
use crate::state::State;
use crate::streams::{OwnLogged, Stream};
use crate::{HeadError, Shard, files};

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
        let result = self.write_checkpoint(before_publish);
        self.state.write().frozen = false;
        result
    }

    fn write_checkpoint<E: From<HeadError>>(
        &self,
        before_publish: impl FnOnce() -> Result<(), E>,
    ) -> Result<CheckpointReport, E> {
        let path = self.options.dir.join(CHECKPOINT_FILE);
        let mut out = Output::create(&path.with_extension("tmp"))?;
        // Before the lock: what is logged up to here is in the head already.
        let own = *self.own_logged.lock();
        let (streams, next_ref): (Vec<(StreamId, Stream)>, u32) = {
            let mut state = self.state.write();
            state.frozen = true;
            (state.streams.iter().map(|(id, stream)| (*id, stream.clone())).collect(), state.next_ref)
        };
        self.put_header(&mut out, own, next_ref)?;
        let mut positions: Vec<(StreamId, u64)> = Vec::with_capacity(streams.len() + 1);
        for (id, stream) in streams {
            positions.push((id, stream.applied));
            put_stream_part(&mut out, id, &stream)?;
        }
        positions.push((self.options.own, own.seq));
        let mut known = Known::default();
        let mut series = 0;
        let pages = self.state.read().series.pages();
        for page in 0..pages {
            let mut buffer = std::mem::take(&mut out.buffer);
            {
                let state = self.state.read();
                known.put_new(&state, &mut buffer);
                let from = begin(&mut buffer, part::SERIES);
                for (slot, found) in state.series.page(page) {
                    codec::put_series(&mut buffer, slot, found, state.lists.get(found.labels));
                    series += 1;
                }
                end(&mut buffer, from);
                put_starts_part(&mut buffer, state.series.page(page));
            }
            out.buffer = buffer;
            out.flush_if_large()?;
        }
        self.put_extras(&mut out)?;
        let from = begin(&mut out.buffer, part::END);
        out.buffer.put_u64_le(series);
        end(&mut out.buffer, from);
        // What the checkpoint refers to must be durable before it.
        let to_sync = self.state.write().files.flush_for_sync()?;
        let mut paths = vec![path.clone()];
        for (file, name) in &to_sync {
            file.sync_data().map_err(|e| HeadError::io("sync", name, e))?;
            paths.push(name.to_path_buf());
        }
        files::sync_dir(&self.options.dir.join(CHUNKS_DIR))?;
        let bytes = out.finish()?;
        before_publish()?;
        files::publish(&path.with_extension("tmp"), &path)?;
        Ok(CheckpointReport { positions, series, bytes, files: paths })
    }

    fn put_header(&self, out: &mut Output, own: OwnLogged, next_ref: u32) -> Result<(), HeadError> {
        out.buffer.put_slice(codec::MAGIC);
        out.buffer.put_u32_le(codec::VERSION);
        let from = begin(&mut out.buffer, part::HEADER);
        let buffer = &mut out.buffer;
        buffer.put_u16_le(self.options.number);
        buffer.put_u16_le(self.options.shards);
        buffer.put_i64_le(self.options.window_ms);
        put_stream(buffer, self.options.own);
        buffer.put_u64_le(own.seq);
        put_marker(buffer, own.marker);
        buffer.put_u32_le(next_ref);
        end(buffer, from);
        Ok(())
    }

    /// Exemplars, metadata and newest times of all tenants.
    fn put_extras(&self, out: &mut Output) -> Result<(), HeadError> {
        let tenants = self.state.read().tenants.len();
        for number in 0..tenants {
            let mut buffer = std::mem::take(&mut out.buffer);
            {
                let state = self.state.read();
                let tenant = &state.tenants[number];
                let from = begin(&mut buffer, part::EXTRAS);
                buffer.put_u32_le(number as u32);
                buffer.put_i64_le(tenant.newest);
                buffer.put_u32_le(tenant.metadata.len() as u32);
                for (metric, metadata) in &tenant.metadata {
                    put_bytes(&mut buffer, metric.as_bytes());
                    buffer.put_u8(metadata.kind.number());
                    put_bytes(&mut buffer, metadata.unit.as_bytes());
                    put_bytes(&mut buffer, metadata.help.as_bytes());
                }
                buffer.put_u32_le(tenant.exemplars.len() as u32);
                for (key, exemplar) in &tenant.exemplars {
                    buffer.put_u128_le(key.0);
                    buffer.put_i64_le(exemplar.t);
                    buffer.put_u64_le(exemplar.v.to_bits());
                    put_bytes(&mut buffer, exemplar.labels.as_bytes());
                }
                end(&mut buffer, from);
            }
            out.buffer = buffer;
            out.flush_if_large()?;
        }
        Ok(())
    }
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
    end(&mut out.buffer, from);
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
    fn put_new(&mut self, state: &State, out: &mut Vec<u8>) {
        for (number, tenant) in state.tenants.iter().enumerate() {
            if number == self.tenants.len() {
                self.tenants.push((0, 0));
                let from = begin(out, part::TENANT);
                put_bytes(out, tenant.tenant.as_str().as_bytes());
                out.put_u32_le(tenant.series as u32);
                out.put_u32_le(tenant.index.pairs.len() as u32);
                end(out, from);
            }
            let (names, pairs) = &mut self.tenants[number];
            let index = &tenant.index;
            if *names < index.names.len() {
                let from = begin(out, part::NAMES);
                out.put_u32_le(number as u32);
                index.names[*names..].iter().for_each(|name| put_bytes(out, name.text.as_bytes()));
                end(out, from);
                *names = index.names.len();
            }
            if *pairs < index.pairs.len() {
                let from = begin(out, part::PAIRS);
                out.put_u32_le(number as u32);
                for (id, pair) in index.pairs.iter().enumerate().skip(*pairs) {
                    if let Some(pair) = pair {
                        out.put_u32_le(id as u32);
                        out.put_u32_le(pair.name);
                        out.put_u32_le(pair.postings.len() as u32);
                        put_bytes(out, pair.value.as_bytes());
                    }
                }
                end(out, from);
                *pairs = index.pairs.len();
            }
        }
    }
}

/// Start timestamps of a page, if there are any.
fn put_starts_part<'a>(out: &mut Vec<u8>, page: impl Iterator<Item = (u32, &'a Series)>) {
    let from = begin(out, part::STARTS);
    page.for_each(|(slot, series)| codec::put_starts(out, slot, series));
    if out.len() == from {
        out.truncate(from - part::HEADER_BYTES);
    } else {
        end(out, from);
    }
}

/// Starts a part; answers where its body starts.
fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.put_u8(kind);
    out.put_u64_le(0);
    out.len()
}

fn end(out: &mut [u8], from: usize) {
    let length = (out.len() - from) as u32;
    let crc = crc32c::crc32c(&out[from..]);
    out[from - 8..from - 4].copy_from_slice(&length.to_le_bytes());
    out[from - 4..from].copy_from_slice(&crc.to_le_bytes());
}

/// A file being written through one buffer.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Output {
    fn create(path: &Path) -> Result<Self, HeadError> {
        let file = File::create(path).map_err(|e| HeadError::io("create", path, e))?;
        // The buffer below does the collecting.
        let file = BufWriter::with_capacity(0, file);
        Ok(Self { path: path.to_owned(), file, buffer: Vec::with_capacity(2 << 20), bytes: 0 })
    }

    fn flush_if_large(&mut self) -> Result<(), HeadError> {
        if self.buffer.len() >= 1 << 20 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), HeadError> {
        self.file.write_all(&self.buffer).map_err(|e| HeadError::io("write", &self.path, e))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<u64, HeadError> {
        self.flush()?;
        self.file.flush().map_err(|e| HeadError::io("write", &self.path, e))?;
        self.file.get_ref().sync_all().map_err(|e| HeadError::io("sync", &self.path, e))?;
        Ok(self.bytes)
    }
}
