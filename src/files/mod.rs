//! Files that others may have had a hand in: how they are written, and how far they are
//! believed. Nothing here knows what is in them.
//!
//! | file | holds |
//! |---|---|
//! | `output_file` | a file that somebody names for a result |
//! | `atomic` | a file of our own that appears whole or not at all |
//! | `trust` | whether only this user can have written a file |
//! | `prune` | old files of our own, which go |
//! | `sum` | check sums |
//! | `bounded` | reading what may have no end |
//! | `path_text` | a path as text, and back |

pub(crate) mod atomic;
pub(crate) mod bounded;
pub(crate) mod output_file;
pub(crate) mod path_text;
pub(crate) mod prune;
pub(crate) mod sum;
pub(crate) mod trust;

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt;

/// What a file is that is neither a regular file nor a link, for messages.
fn kind(file: FileType) -> &'static str {
    match file {
        file if file.is_dir() => "a folder",
        file if file.is_symlink() => "a link",
        file if file.is_fifo() => "a pipe",
        file if file.is_socket() => "a socket",
        file if file.is_char_device() => "a device",
        file if file.is_block_device() => "a disk",
        _ => "no regular file",
    }
}
