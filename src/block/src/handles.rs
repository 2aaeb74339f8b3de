//! Open files, so many and no more.
//!
//! A node may have tens of thousands of blocks. Files that were opened longest ago are closed when there are too many, and
//! opened again when they are read.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

/// Open files even where the system allows very few.
const OPEN_MIN: u64 = 64;
/// More is of no use.
const OPEN_MAX: u64 = 1 << 18;

/// A file that may be closed in between.
#[derive(Debug)]
pub(crate) struct Handle {
    number: u64,
    open: Mutex<Weak<File>>,
}

impl Handle {
    pub(crate) fn new(file: File) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let file = Arc::new(file);
        let open = Mutex::new(Arc::downgrade(&file));
        OPEN.lock().keep(number, file);
        Self { number, open }
    }

    /// The file, opened again if it was closed.
    pub(crate) fn get(&self, open: impl FnOnce() -> io::Result<File>) -> io::Result<Arc<File>> {
        let mut known = self.open.lock();
        if let Some(file) = known.upgrade() {
            return Ok(file);
        }

        let file = Arc::new(open()?);
        *known = Arc::downgrade(&file);
        OPEN.lock().keep(self.number, Arc::clone(&file));

        Ok(file)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The room of a file that was removed comes back with its last handle.
        OPEN.lock().files.remove(&self.number);
    }
}

static OPEN: LazyLock<Mutex<Open>> = LazyLock::new(|| Mutex::new(Open::new(open_max())));

/// A quarter of the files that this process may have open: others are connections, the log and the head.
fn open_max() -> usize {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(OPEN_MAX * 4);
    (allowed / 4).clamp(OPEN_MIN, OPEN_MAX) as usize
}

struct Open {
    files: HashMap<u64, Arc<File>>,
    /// Oldest first; numbers of files that are gone may be among them.
    order: VecDeque<u64>,
    max: usize,
}

impl Open {
    fn new(max: usize) -> Self {
        Self {
            files: HashMap::new(),
            order: VecDeque::new(),
            max,
        }
    }

    fn keep(&mut self, number: u64, file: Arc<File>) {
        self.files.insert(number, file);
        self.order.push_back(number);

        while self.files.len() > self.max
            && let Some(oldest) = self.order.pop_front()
        {
            self.files.remove(&oldest);
        }

        if self.order.len() > self.max * 2 {
            self.order.retain(|number| self.files.contains_key(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_files_and_forgets_what_is_gone() {
        let file = || Arc::new(tempfile::tempfile().expect("temporary file"));
        let mut open = Open::new(3);
        (0..10).for_each(|number| open.keep(number, file()));

        let mut kept: Vec<u64> = open.files.keys().copied().collect();
        kept.sort_unstable();
        assert_eq!(kept, [7, 8, 9]);

        for number in 10..100 {
            open.keep(number, file());
            open.files.remove(&number);
        }

        assert!(open.order.len() <= 7);
    }

    #[test]
    fn a_closed_file_is_opened_again() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "content").expect("writable");

        let handle = Handle::new(File::open(&path).expect("there"));
        OPEN.lock().files.remove(&handle.number);
        let again = handle.get(|| File::open(&path)).expect("there still");

        assert_eq!(again.metadata().expect("open").len(), 7);
        let known = handle.get(|| unreachable!("it is open")).expect("open");
        assert!(Arc::ptr_eq(&again, &known));
    }
}
