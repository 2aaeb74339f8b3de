//! Small text files of one record a line, behind a header that vouches for the lines.

use std::fs;
use std::io;
use std::path::Path;

/// The file's bytes: its name, version and the checksum of the lines, and the lines.
pub(super) fn text(magic: &str, version: u32, lines: &str) -> String {
    format!("{}\n{lines}", header(magic, version, lines))
}

fn header(magic: &str, version: u32, lines: &str) -> String {
    format!(
        "{magic} {version} crc32c={:08x}",
        crc32c::crc32c(lines.as_bytes())
    )
}

/// The lines of a file; `None` if it is not there.
pub(super) fn read(path: &Path, magic: &str, version: u32) -> Result<Option<String>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };

    let (found, lines) = text.split_once('\n').ok_or("no header")?;
    let want = header(magic, version, lines);
    if found != want {
        return Err(format!("its header is {found:?}, not {want:?}"));
    }

    Ok(Some(lines.to_owned()))
}
