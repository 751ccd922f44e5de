//! A program that consists of qgraph and of nodes from other crates: its name and version, and the
//! warning that it prints if no such nodes are linked.

use crate::graph::Declarations;

/// A program that qgraph's `main` is the whole of.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, as `--help` and `--version` tell it.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// qgraph's own name.
const OWN: &str = env!("CARGO_PKG_NAME");

impl Program {
    /// Whether it is qgraph itself.
    pub(crate) fn is_own(self) -> bool {
        self.name == OWN
    }

    /// What `--version` says behind the name.
    pub(crate) fn version_in_words(self) -> String {
        match self.is_own() {
            true => self.version.to_owned(),
            false => format!("{} ({OWN} {})", self.version, env!("CARGO_PKG_VERSION")),
        }
    }

    /// A warning, if this program is not qgraph itself and has no nodes but qgraph's own.
    pub(crate) fn lacks_nodes(self) -> Option<String> {
        (!self.is_own() && !Declarations::registered().has_others()).then(|| {
            format!(
                "{} has no nodes but qgraph's own. A library that nothing mentions is not linked: \
                 its main says `qgraph::main!(my_nodes);` or `use my_nodes as _;`",
                self.name
            )
        })
    }
}

/// The `main` of a program that is qgraph with the nodes of these crates:
/// `qgraph::main!(my_nodes);`. Its name and version are those of the package.
#[macro_export]
macro_rules! main {
    ($($nodes:ident),* $(,)?) => {
        $(use $nodes as _;)*

        fn main() -> ::std::process::ExitCode {
            $crate::cli::main($crate::Program {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            })
        }
    };
}

/// The `main` of a test target with `harness = false` that runs every path, those over the nodes
/// of these crates among them: `qgraph::test_main!(my_nodes);`.
#[macro_export]
macro_rules! test_main {
    ($($nodes:ident),* $(,)?) => {
        $(use $nodes as _;)*

        fn main() -> ::std::process::ExitCode {
            $crate::harness::cargo_test($crate::Program {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            })
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a program of one's own that calls itself qgraph, or one whose nodes are not
    /// linked and that does not say so.
    #[test]
    fn a_program_of_ones_own() {
        let own = Program { name: "qgraph", version: "0.1.0" };
        assert_eq!((own.version_in_words().as_str(), own.lacks_nodes()), ("0.1.0", None));
        let other = Program { name: "boards", version: "7.0.0" };
        assert!(other.version_in_words().starts_with("7.0.0 (qgraph "));
        assert!(other.lacks_nodes().is_some_and(|it| it.starts_with("boards has no nodes")));
    }
}
