//! What an error of a disk means.

use std::io;

/// Errors by which Linux file systems and drivers say that what was asked for cannot be read: a bad sector, or metadata
/// or checksums of the file system that do not fit.
const UNREADABLE: [i32; 5] = [
    5,   // EIO
    61,  // ENODATA, of some drivers for a medium error
    74,  // EBADMSG, a checksum of ext4 or xfs
    117, // EUCLEAN, metadata that does not fit
    121, // EREMOTEIO
];

/// True if a read failed because the disk has lost what was there. That is damage like a checksum that does not fit, and
/// has the same cure. Other errors (no handles, no memory, no permission) say nothing about the data.
pub fn is_unreadable(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| UNREADABLE.contains(&code))
}

/// True if a call failed because the process or the system is short of something that comes back: handles or memory.
pub fn is_starved(error: &io::Error) -> bool {
    const STARVED: [i32; 3] = [
        12, // ENOMEM
        23, // ENFILE
        24, // EMFILE
    ];
    error
        .raw_os_error()
        .is_some_and(|code| STARVED.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_lost_data_from_want_and_from_the_rest() {
        let of = io::Error::from_raw_os_error;
        assert!(is_unreadable(&of(5)) && !is_starved(&of(5)));
        assert!(is_starved(&of(24)) && !is_unreadable(&of(24)));
        assert!(!is_unreadable(&of(13)) && !is_starved(&of(28)));
        assert!(!is_unreadable(&io::Error::other("EIO")));
    }
}
