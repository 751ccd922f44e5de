//! A named environment: with which accelerator, CPU model and further options an emulator runs
//! what it is given, so that the same can be run in several.

use super::emulator::Emulator;
use super::guest::{GuestStart, run_guest};
use std::time::Duration;

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedEnvironment {
    /// Its name.
    pub name: String,
    /// The accelerator of guests, as `-accel` takes it.
    pub accel: String,
    /// The CPU model with features, `max,+x,-y`, or features alone, `+x,-y`.
    pub cpu: Option<String>,
    /// How many CPUs there are at least.
    pub smp: Option<u32>,
    /// How much RAM a guest gets that does not say it, as `-m` takes it.
    pub memory: Option<String>,
    /// Further options, a word each.
    pub options: Vec<String>,
    /// Machines to which it is bound, `ARCH/TYPE`; all if there are none.
    pub machines: Vec<String>,
    /// Why nothing can run in it here, if so.
    pub trouble: Option<String>,
}

impl NamedEnvironment {
    /// The environment of this name that has an accelerator and nothing else.
    pub fn of_accelerator(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            accel: name.to_owned(),
            cpu: None,
            smp: None,
            memory: None,
            options: Vec::new(),
            machines: Vec::new(),
            trouble: None,
        }
    }

    /// What it is, in words.
    pub fn in_words(&self) -> String {
        let mut words = vec![format!("accel={}", self.accel)];
        words.extend(self.cpu.iter().map(|cpu| format!("cpu={cpu}")));
        words.extend(self.smp.iter().map(|smp| format!("smp={smp}")));
        words.extend(self.memory.iter().map(|memory| format!("memory={memory}")));
        words.extend(self.options.iter().cloned());
        words.join(" ")
    }

    /// Changes the options of a guest: the CPU model becomes that of the environment and keeps
    /// the features that the guest names, and there are no fewer CPUs than it needs.
    pub fn change(&self, words: &mut Vec<String>) {
        if let Some(cpu) = &self.cpu {
            let changed = |own: &str| of_cpu(cpu, own);
            match value_of(words, "-cpu") {
                Some(own) => *own = changed(own),
                None => words.extend(["-cpu".to_owned(), changed("")]),
            }
        }
        if let Some(smp) = self.smp
            && let Some(own) = value_of(words, "-smp")
            && own.parse::<u32>().is_ok_and(|own| own < smp)
        {
            *own = smp.to_string();
        }
        if let Some(memory) = self.memory.as_ref().filter(|_| value_of(words, "-m").is_none()) {
            words.extend(["-m".to_owned(), memory.clone()]);
        }
        words.extend(self.options.iter().cloned());
    }

    /// The options for a machine whose CPUs do not run.
    pub fn words(&self) -> Vec<String> {
        let cpu = self.cpu.iter().filter(|cpu| !is_features(cpu));
        let cpu = cpu.flat_map(|cpu| ["-cpu".to_owned(), cpu.clone()]);
        let smp = self.smp.iter().flat_map(|smp| ["-smp".to_owned(), smp.to_string()]);
        cpu.chain(smp).chain(self.options.iter().cloned()).collect()
    }

    /// Whether the machine `ARCH/TYPE` is one of its machines.
    pub fn has_machine(&self, machine: &str) -> bool {
        let ty = machine.split_once('/').map_or(machine, |(_, ty)| ty);
        self.machines.is_empty() || self.machines.iter().any(|it| it == machine || it == ty)
    }
}

/// The value of the last such option.
fn value_of<'w>(words: &'w mut [String], option: &str) -> Option<&'w mut String> {
    let at = words.iter().rposition(|word| word == option)?;
    words.get_mut(at + 1)
}

fn is_features(cpu: &str) -> bool {
    cpu.starts_with(['+', '-'])
}

/// The CPU `wanted` with the features of a guest's `own`.
fn of_cpu(wanted: &str, own: &str) -> String {
    let (own_model, own_features) = own.split_once(',').unwrap_or((own, ""));
    let (model, features) = match is_features(wanted) {
        true => (if own_model.is_empty() { "max" } else { own_model }, wanted),
        false => wanted.split_once(',').unwrap_or((wanted, "")),
    };
    let parts = [model, own_features, features];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

/// How long an emulator may take to say whether it has an accelerator.
const LIMIT: Duration = Duration::from_secs(10);

/// Why guests cannot run with this accelerator on `emulator`, if they cannot: it is started with
/// it, without a machine.
pub fn accelerator_trouble(emulator: &Emulator, accel: &str) -> Option<String> {
    let words = ["-machine", "none", "-nodefaults", "-display", "none", "-accel", accel];
    let words = words.map(str::to_owned).into();
    let start = GuestStart { words, start: LIMIT, limit: Duration::ZERO };
    match run_guest(emulator, start, |_| {}, || true) {
        Ok(end) if end.is_started => None,
        Ok(end) => {
            let said = end.output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let name = emulator.name();
            let said = said.split_once(&format!("{name}: ")).map_or(said, |(_, said)| said);
            Some(format!("{name} has no accelerator {accel} here: {said}"))
        }
        Err(e) => Some(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a CPU model that loses the features a guest needs, fewer CPUs than it needs,
    /// and RAM of the guest's own that is overruled.
    #[test]
    fn a_guest_keeps_what_it_needs() {
        let changed = |cpu: &str, words: &str| {
            let environment = NamedEnvironment {
                cpu: Some(cpu.to_owned()),
                smp: Some(2),
                memory: Some("1G".to_owned()),
                options: vec!["-x".to_owned()],
                ..NamedEnvironment::of_accelerator("tcg")
            };
            let mut words = words.split(' ').map(str::to_owned).collect();
            environment.change(&mut words);
            words.join(" ")
        };
        assert_eq!(
            changed("qemu64", "-cpu max,+vmx -smp 4 -m 2G"),
            "-cpu qemu64,+vmx -smp 4 -m 2G -x"
        );
        assert_eq!(changed("+a,-b", "-smp 1"), "-smp 2 -cpu max,+a,-b -m 1G -x");
        assert_eq!(changed("+a", "-cpu host -smp 1"), "-cpu host,+a -smp 2 -m 1G -x");
        assert_eq!(changed("max,+a", "-cpu base,-b -smp 1"), "-cpu max,-b,+a -smp 2 -m 1G -x");
    }
}
