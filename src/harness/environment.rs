//! On what a run was done: the host, the kernel, qgraph with its arguments, and the emulators.
//! Reports show it and the journal keeps it, so that a result can be told from another one.

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use super::host;
use super::plan::outcome_name;
use crate::qemu::Emulator;

/// On what a run was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The version of qgraph.
    pub qgraph: String,
    /// The name of the host.
    pub host: String,
    /// The kernel: its name, release and the architecture it runs on.
    pub kernel: String,
    /// The model of its CPUs, their microcode, and whether they are those of a virtual machine.
    #[serde(default)]
    pub cpu: String,
    /// The flags of its CPUs, separated by blanks.
    #[serde(default)]
    pub cpu_flags: String,
    /// The parameters of KVM's modules, `kvm_intel.nested=Y` and others, separated by blanks.
    #[serde(default)]
    pub kvm: String,
    /// The arguments of qgraph after the name of the command.
    pub arguments: Vec<String>,
    /// The emulators of the run.
    pub emulators: Vec<EmulatorFacts>,
}

/// What is known of one emulator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmulatorFacts {
    /// Its path, as outcomes have it.
    pub path: String,
    /// The architecture it emulates.
    pub arch: String,
    /// Its version.
    pub version: String,
    /// What its packager added to the version, often empty.
    pub build: String,
    /// Where its qtest accelerator comes from.
    pub accelerator: String,
    /// What the environment is in which it runs guests, if one is named.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub environment: String,
}

/// A fact, and what it is called.
pub(crate) type Fact = (&'static str, String);

impl EmulatorFacts {
    fn of(emulator: &Emulator) -> Self {
        let has = &emulator.capabilities;
        Self {
            path: outcome_name(emulator),
            arch: has.arch.clone(),
            version: has.version.to_string(),
            build: has.package.clone(),
            accelerator: emulator.accelerator.to_string(),
            environment: emulator.environment.as_ref().map_or(String::new(), |it| it.in_words()),
        }
    }
}

impl Environment {
    /// The environment of this process, which runs paths on these emulators.
    pub fn of_this_process<'a>(
        emulators: impl Iterator<Item = &'a Emulator>,
        arguments: Vec<String>,
    ) -> Self {
        let (host, kernel) = uname().map_or_else(
            |_| Default::default(),
            |name| {
                let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
                let kernel = [name.sysname(), name.release(), name.machine()].map(text).join(" ");
                (text(name.nodename()), kernel)
            },
        );
        Self {
            qgraph: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            kernel,
            cpu: host::cpu(),
            cpu_flags: host::cpu_flags(),
            kvm: host::kvm_parameters(),
            arguments,
            emulators: emulators.map(EmulatorFacts::of).collect(),
        }
    }

    fn emulator(&self, path: &str) -> Option<&EmulatorFacts> {
        self.emulators.iter().find(|emulator| emulator.path == path)
    }
}

/// The facts of several environments about everything but emulators.
pub(crate) fn facts(of: &[Environment]) -> Vec<Fact> {
    let all: Vec<&Environment> = of.iter().collect();
    general(&all)
}

/// The facts of several environments about the emulator at `path`; none if no environment has
/// it.
pub(crate) fn emulator_facts(of: &[Environment], path: &str) -> Vec<Fact> {
    let emulators: Vec<_> =
        of.iter().filter_map(|environment| environment.emulator(path)).collect();
    let each =
        |value: fn(&EmulatorFacts) -> &str| emulators.iter().map(move |it| value(it).to_owned());
    let facts = [
        ("qemu-version", distinct(each(|it| &it.version))),
        ("qemu-build", distinct(each(|it| &it.build))),
        ("architecture", distinct(each(|it| &it.arch))),
        ("accelerator", distinct(each(|it| &it.accelerator))),
        ("environment", distinct(each(|it| &it.environment))),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// The general facts of those environments that have the emulator at `path`.
pub(crate) fn facts_with(of: &[Environment], path: &str) -> Vec<Fact> {
    let with: Vec<_> =
        of.iter().filter(|environment| environment.emulator(path).is_some()).collect();
    general(&with)
}

fn general(of: &[&Environment]) -> Vec<Fact> {
    let words = |environment: &&Environment| environment.arguments.join(" ");
    let facts = [
        ("host", distinct(of.iter().map(|it| it.host.clone()))),
        ("kernel", distinct(of.iter().map(|it| it.kernel.clone()))),
        ("cpu", distinct(of.iter().map(|it| it.cpu.clone()))),
        ("kvm", distinct(of.iter().map(|it| it.kvm.clone()))),
        ("qgraph", distinct(of.iter().map(|it| it.qgraph.clone()))),
        ("options", distinct(of.iter().map(words))),
    ];
    facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Each value once, in the order in which they come.
fn distinct(values: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for value in values.filter(|value| !value.is_empty()) {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch facts of one machine that are told of another one, and a fact that is told
    /// twice because two machines share it.
    #[test]
    fn facts_of_several_machines() {
        let emulator = |path: &str, build: &str| EmulatorFacts {
            path: path.to_owned(),
            version: "7.2.0".to_owned(),
            build: build.to_owned(),
            ..EmulatorFacts::default()
        };
        let environment = |host: &str, emulators| Environment {
            host: host.to_owned(),
            kernel: "Linux".to_owned(),
            emulators,
            ..Environment::default()
        };
        let two = [
            environment("a", vec![emulator("/q", "one")]),
            environment("b", vec![emulator("/q", "two"), emulator("/r", "")]),
        ];
        let fact = |name, value: &str| (name, value.to_owned());
        assert_eq!(facts(&two), [fact("host", "a; b"), fact("kernel", "Linux")]);
        assert_eq!(facts_with(&two, "/r"), [fact("host", "b"), fact("kernel", "Linux")]);
        let facts = emulator_facts(&two, "/q");
        assert_eq!(facts, [fact("qemu-version", "7.2.0"), fact("qemu-build", "one; two")]);
        assert!(emulator_facts(&two, "/s").is_empty());
    }
}
