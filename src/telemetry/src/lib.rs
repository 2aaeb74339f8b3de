//! Slog set-up, metrics registry, build info.
