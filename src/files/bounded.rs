//! Reading files that anybody may have written, or that are no files at all: never more than
//! is of use.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// The content of a file, of at most `most` bytes.
///
/// # Errors
/// Returns [`io::ErrorKind::FileTooLarge`] if there is more, and what the kernel says
/// otherwise.
pub(crate) fn read(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(too_large(most)),
        false => Ok(bytes),
    }
}

/// Reads a line of at most `most` bytes, with its end, into `line`, which is emptied before.
/// Returns how many bytes that are; 0 at the end.
///
/// # Errors
/// Returns [`io::ErrorKind::FileTooLarge`] if the line has more, and what the kernel says
/// otherwise.
pub(crate) fn read_line(
    from: &mut impl BufRead,
    line: &mut Vec<u8>,
    most: u64,
) -> io::Result<usize> {
    line.clear();
    let count = from.by_ref().take(most).read_until(b'\n', line)?;
    match count as u64 == most && line.last() != Some(&b'\n') {
        true => Err(too_large(most)),
        false => Ok(count),
    }
}

fn too_large(most: u64) -> io::Error {
    let most = most >> 20;
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a file without end that fills the memory, and one that just fits refused.
    #[test]
    fn there_is_an_end() {
        let e = read(Path::new("/dev/zero"), 5 << 20).unwrap_err();
        assert_eq!(
            (e.kind(), &*e.to_string()),
            (io::ErrorKind::FileTooLarge, "it has more than 5 MiB")
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        assert!(read(file.path(), 4).is_err());
        let mut line = Vec::new();
        let mut text = &b"123\n1234\n12"[..];
        assert_eq!(read_line(&mut text, &mut line, 4).unwrap(), 4);
        assert!(read_line(&mut text, &mut line, 4).is_err());
        let mut text = &b"12"[..];
        assert_eq!(read_line(&mut text, &mut line, 4).unwrap(), 2);
        assert_eq!(read_line(&mut text, &mut line, 4).unwrap(), 0);
    }
}
