//! IOMMUs, and devices whose DMA they translate.

mod engine;

pub use engine::{Copier, Engine, LONGEST, NO_ENGINES, PLACES, TWO_ENGINES};
