//! Globs over whole names. Any text can be asked to be one; a text that is none, or that is
//! too long or too deep to be compiled, gets a message.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The longest glob, in bytes. No name is as long as this.
const MOST_BYTES: usize = 10_000;
/// How many braces a glob nests at most. The compiler of globs calls itself for each.
const MOST_NESTED: usize = 50;

/// A compiled glob and its text.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    text: String,
    // A set, because compiling a set can fail; compiling a single glob panics.
    set: GlobSet,
}

impl Glob {
    /// Compiles `text`.
    ///
    /// # Errors
    /// Returns why `text` is no glob, or which limit it exceeds.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("it has {} bytes, and may have {MOST_BYTES}", text.len()));
        }
        let nested = nested(text);
        if nested > MOST_NESTED {
            return Err(format!("it nests {nested} braces, and may nest {MOST_NESTED}"));
        }
        let glob = GlobBuilder::new(text).build().map_err(|e| e.kind().to_string())?;
        let set = GlobSetBuilder::new().add(glob).build();
        // The message of the compiler of regular expressions repeats the whole text.
        let set = set.map_err(|_| "it is too large to be compiled".to_owned())?;
        Ok(Self { text: text.to_owned(), set })
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }
}

/// How many braces are open at most at one place. Escapes are not looked at: a limit need not
/// be exact.
fn nested(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' => open += 1,
            b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Would catch a glob of great depth or length that ends the program, and one that is
    /// refused without the limit it exceeds.
    #[test]
    fn what_is_too_large_is_refused() {
        let deep = |depth: usize| format!("{}b{}", "{a,".repeat(depth), "}".repeat(depth));
        assert!(Glob::new(&deep(MOST_NESTED)).unwrap().matches("aab".get(2..).unwrap()));
        let why = Glob::new(&deep(200)).unwrap_err();
        assert_eq!(why, "it nests 200 braces, and may nest 50");
        assert!(Glob::new(&deep(3_000_000)).unwrap_err().contains("bytes"));
        let why = Glob::new(&"*".repeat(MOST_BYTES + 1)).unwrap_err();
        assert_eq!(why, "it has 10001 bytes, and may have 10000");
        for part in ["*", "?", "**/", "[a-z]", "{a,b}", "[!\u{e9}-\u{10ffff}]", "\u{10ffff}"] {
            let text = part.repeat(MOST_BYTES / part.len());
            if let Ok(glob) = Glob::new(&text) {
                glob.matches("/x86_64/pc/a");
            }
        }
    }

    proptest! {
        /// Would catch a text of any kind that ends the program when it is given as a glob.
        #[test]
        fn no_text_panics(text in "([*?{},!^\\[\\]\\-\\\\/a-c]|\\PC){0,200}", name in "\\PC{0,20}") {
            if let Ok(glob) = Glob::new(&text) {
                glob.matches(&name);
            }
        }
    }
}
