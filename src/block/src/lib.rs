//! Prometheus block format: index, chunks, meta; read and write.
