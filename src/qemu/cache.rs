//! The user's cache: what was found out about emulators, and the modules made for them.
//!
//! Nothing in it is needed: what is missing, damaged, of another version, from the future or
//! not this user's is made anew. Files appear whole or not at all, so that several programs
//! may use it at once; what is not used any more goes.
//!
//! | file | holds |
//! |---|---|
//! | `root` | which folder it is |
//! | `stamp` | a file as it was when something was found out about it |
//! | `shelf` | what is remembered of files, one shelf for each kind of it |

mod root;
mod shelf;
mod stamp;

pub use root::{ENVIRONMENT, folder, not_used};
pub use shelf::Shelf;
pub use stamp::Stamp;
