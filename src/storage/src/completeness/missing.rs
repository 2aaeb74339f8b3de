//! What is known to be missing here, and the file that keeps the knowledge.
//!
//! ```text
//! incomplete      one line: "records", "until cut K" or "blocks"; absent when nothing is missing
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use trireme_base::durable;

/// What is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Missing {
    #[default]
    Nothing,
    /// Something of records that were applied since the last cut.
    Records,
    /// The same, and it is in blocks of peers when this cut is made.
    UntilCut(i64),
    /// What peers may have in blocks, which are to be compared.
    Blocks,
}

const RECORDS: &str = "records";
const UNTIL_CUT: &str = "until cut ";
const BLOCKS: &str = "blocks";

impl Missing {
    /// Empty for nothing.
    pub(super) fn text(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Records => RECORDS.to_owned(),
            Self::UntilCut(k) => format!("{UNTIL_CUT}{k}"),
            Self::Blocks => BLOCKS.to_owned(),
        }
    }

    /// What cannot be understood is taken for the worst.
    fn of(text: &str) -> Self {
        let until = text
            .strip_prefix(UNTIL_CUT)
            .and_then(|k| k.parse().ok())
            .map(Self::UntilCut);
        until.unwrap_or(if text == BLOCKS {
            Self::Blocks
        } else {
            Self::Records
        })
    }
}

/// What is missing, here and in the file.
#[derive(Debug, Default)]
pub(super) struct Kept {
    note: Option<PathBuf>,
    what: Missing,
    is_saved: bool,
}

impl Kept {
    /// As the last process left it. A file that the disk cannot give back says that something was missing.
    pub(super) fn load(note: &Path) -> io::Result<Self> {
        let what = match fs::read_to_string(note) {
            Ok(text) => Missing::of(text.trim_end()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Missing::Nothing,
            Err(error)
                if trireme_base::is_unreadable(&error)
                    || error.kind() == io::ErrorKind::InvalidData =>
            {
                Missing::Records
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            note: Some(note.to_owned()),
            what,
            is_saved: true,
        })
    }

    pub(super) fn what(&self) -> Missing {
        self.what
    }

    /// Notes it; what cannot be written now is written by [`Kept::save`].
    pub(super) fn set(&mut self, what: Missing) {
        if self.what != what {
            (self.what, self.is_saved) = (what, false);
            let _ = self.save();
        }
    }

    pub(super) fn save(&mut self) -> io::Result<()> {
        if let Some(note) = self.note.as_ref().filter(|_| !self.is_saved) {
            note_missing(note, &self.what.text())?;
            self.is_saved = true;
        }
        Ok(())
    }
}

/// Has the file at `note` say that `what` is missing, as [`Completeness::lacks_text`](super::Completeness::lacks_text) does;
/// durably. Without a text nothing is.
pub fn note_missing(note: &Path, what: &str) -> io::Result<()> {
    if !what.is_empty() {
        return durable::replace(note, format!("{what}\n").as_bytes());
    }
    durable::remove_if_there(note)?;
    durable::sync_dir(note.parent().unwrap_or(Path::new(".")))
}
