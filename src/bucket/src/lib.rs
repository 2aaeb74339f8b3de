//! Object store layout, publish, fetch, caches.
