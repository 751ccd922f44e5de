//! A path as text, and back: paths need not be UTF-8, and what is written as JSON has to be.
//!
//! A path that is UTF-8 is its own text. Of others each byte that fits into no character is
//! `\x` and two digits, as is the backslash of a path that has such letters itself. So two
//! paths never have the same text.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serializer};

/// The text of a path.
pub(crate) fn text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace("\\x", "\\x5cx"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The path that has this text.
pub(crate) fn path(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        let digits = after.get(..2).filter(|it| it.bytes().all(|c| c.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.extend(b"\\x");
                rest = after;
            }
        }
    }
    bytes.extend(rest.bytes());
    OsString::from_vec(bytes).into()
}

/// For `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(path))
}

/// For `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    String::deserialize(from).map(|text| path(&text))
}

pub(crate) mod option {
    //! The same for a path that may be left out.

    use super::*;

    /// For `#[serde(with)]`.
    pub(crate) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => to.serialize_some(&text(path)),
            None => to.serialize_none(),
        }
    }

    /// For `#[serde(with)]`.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(|text| path(&text)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Would catch ordinary paths that are not their own text.
    #[test]
    fn most_paths_are_their_own_text() {
        for same in ["/usr/bin/qemu", "/it's a/\\q\\n", "/é", ""] {
            assert_eq!(text(Path::new(same)), same);
        }
        let odd = PathBuf::from(OsString::from_vec(b"/caf\xe9/\\xe9".to_vec()));
        assert_eq!(text(&odd), "/caf\\xe9/\\x5cxe9");
        assert_eq!(path("\\x"), Path::new("\\x"));
        assert_eq!(path("\\xé\\x+1"), Path::new("\\xé\\x+1"));
    }

    proptest! {
        /// Would catch a path that is another one after it was written down, or two paths that
        /// are taken for one.
        #[test]
        fn a_path_survives(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x'), Just(b'5'), Just(b'c')], 0..20
        )) {
            let there = PathBuf::from(OsString::from_vec(bytes));
            prop_assert_eq!(path(&text(&there)), there);
        }

        /// Would catch a panic on a text that was written by hand.
        #[test]
        fn any_text_is_a_path(text in "(\\\\x|[0-9a-fx\\\\é]){0,20}") {
            path(&text);
        }
    }
}
