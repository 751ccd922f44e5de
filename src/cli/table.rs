//! How commands that compare write what they found.

/// The format of standard output.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}
