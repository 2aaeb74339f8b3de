//! Every target of `fuzz/fuzz_targets` on seeded random inputs.
#![allow(missing_docs, clippy::unwrap_used)]

/// The targets, as they are; the attribute that makes each a program of its own means nothing here.
#[allow(unused_attributes)]
mod targets {
    #[path = "../../../../fuzz/fuzz_targets/block_files.rs"]
    pub mod block_files;
    #[path = "../../../../fuzz/fuzz_targets/chunk_histogram.rs"]
    pub mod chunk_histogram;
    #[path = "../../../../fuzz/fuzz_targets/chunk_xor.rs"]
    pub mod chunk_xor;
    #[path = "../../../../fuzz/fuzz_targets/chunk_xor2.rs"]
    pub mod chunk_xor2;
    #[path = "../../../../fuzz/fuzz_targets/entry.rs"]
    pub mod entry;
    #[path = "../../../../fuzz/fuzz_targets/federate.rs"]
    pub mod federate;
    #[path = "../../../../fuzz/fuzz_targets/frame.rs"]
    pub mod frame;
    #[path = "../../../../fuzz/fuzz_targets/index.rs"]
    pub mod index;
    #[path = "../../../../fuzz/fuzz_targets/labels.rs"]
    pub mod labels;
    #[path = "../../../../fuzz/fuzz_targets/log.rs"]
    pub mod log;
    #[path = "../../../../fuzz/fuzz_targets/otlp.rs"]
    pub mod otlp;
    #[path = "../../../../fuzz/fuzz_targets/promql.rs"]
    pub mod promql;
    #[path = "../../../../fuzz/fuzz_targets/record.rs"]
    pub mod record;
    #[path = "../../../../fuzz/fuzz_targets/remote_read.rs"]
    pub mod remote_read;
    #[path = "../../../../fuzz/fuzz_targets/rw1.rs"]
    pub mod rw1;
    #[path = "../../../../fuzz/fuzz_targets/rw2.rs"]
    pub mod rw2;
    #[path = "../../../../fuzz/fuzz_targets/search.rs"]
    pub mod search;
    #[path = "../../../../fuzz/fuzz_targets/snappy.rs"]
    pub mod snappy;
}

#[path = "targets/valid.rs"]
mod valid;

use libfuzzer_sys::try_all;

/// The tests of `trireme-promql` feed these with seeded random queries of their own.
const SEEDED_ELSEWHERE: [&str; 2] = ["engine", "promql_oracle"];

/// A test for each target; the last one demands that none is forgotten.
macro_rules! tests {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                try_all(stringify!($target), &valid::$target(), targets::$target::run);
            }
        )*

        #[test]
        fn every_target_is_run() {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/fuzz_targets");
            let names = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.map(|name| name.trim_end_matches(".rs").to_owned()).collect();
            names.retain(|name| !SEEDED_ELSEWHERE.contains(&name.as_str()));
            names.sort();
            assert_eq!(names, [$(stringify!($target)),*]);
        }
    };
}

tests! {
    block_files chunk_histogram chunk_xor chunk_xor2 entry federate frame index labels log otlp promql record
    remote_read rw1 rw2 search snappy
}
