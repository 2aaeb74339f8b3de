//! Labels in any sender's wire form: canonical labels read back as themselves.

#![no_main]

use trireme_model::Labels;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(labels) = Labels::from_wire(bytes) {
        assert!(labels.as_bytes().len() <= bytes.len());
        assert_eq!(Labels::from_wire(labels.as_bytes()).as_ref(), Ok(&labels));
        let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    }
});
