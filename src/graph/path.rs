//! One path: its name, its command line, and the objects along it.

use std::path::Path as FilePath;
use std::rc::Rc;
use std::sync::Arc;

use petgraph::graph::{EdgeIndex, NodeIndex};

use super::decl::Object;
use super::guest::shell_line;
use super::model::{Availability, Boot, BootFn, Edge, Kind, Model, NodeEntry, Offer, Step};
use super::node::{Plug, Setup, Site};
use crate::qemu::discovery::give_nic;
use crate::qemu::moves::machine_on_both;
use crate::qemu::{Between, Config, Emulator, RamSpec, Version, Vm};
use crate::{Error, Result};

/// A way from a machine to a test.
/// Two paths are told apart by their names.
#[derive(Clone)]
pub struct Path {
    model: Arc<Model>,
    machine: NodeIndex,
    edges: Vec<EdgeIndex>,
    between: Option<Between>,
}

impl Path {
    pub(super) fn new(model: Arc<Model>, machine: NodeIndex, edges: Vec<EdgeIndex>) -> Self {
        Self { model, machine, edges, between: None }
    }

    /// The same path, with this done between its set-up and its check.
    pub fn with_between(&self, between: Option<Between>) -> Self {
        Self { between, ..self.clone() }
    }

    /// What is done between its set-up and its check.
    pub fn between(&self) -> Option<Between> {
        self.between
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = (&Edge, &NodeEntry)> {
        self.edges.iter().map(|&edge| {
            let (_, to) = self.model.graph.edge_endpoints(edge).expect("an edge of this graph");
            (&self.model.graph[edge], &self.model.graph[to])
        })
    }

    /// The machine at which it begins, `ARCH/MACHINE`.
    pub fn machine(&self) -> &'static str {
        self.model.graph[self.machine].name
    }

    /// The test at which it ends, `SUITE/CASE`.
    pub fn test(&self) -> &'static str {
        self.steps().last().map_or("", |(_, test)| test.name)
    }

    /// The suite of that test.
    pub fn suite(&self) -> &'static str {
        self.test().split_once('/').map_or(self.test(), |(suite, _)| suite)
    }

    /// The last driver on it: the device that the test looks at, or the machine's own part.
    pub fn device(&self) -> &'static str {
        let drivers = self.steps().filter(|(_, node)| node.kind == Kind::Driver);
        drivers.last().map_or(self.machine(), |(_, node)| node.name)
    }

    /// The source file of that test.
    pub fn file(&self) -> Option<&'static str> {
        self.steps().last().and_then(|(_, test)| test.file)
    }

    /// The names of the nodes on it, machine and test included.
    pub fn nodes(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.machine()).chain(self.steps().map(|(_, node)| node.name))
    }

    /// Whether its driver errs: then what counts is that QEMU survives.
    pub fn errs(&self) -> bool {
        let last = self.edges.last().map(|&edge| &self.model.graph[edge].step);
        self.between == Some(Between::Fuzz) || matches!(last, Some(Step::Run(test)) if test.errs)
    }

    /// The edges as the walk numbers them, for whoever looks into a path.
    pub(super) fn edge_indices(&self) -> &[EdgeIndex] {
        &self.edges
    }

    /// The edges on it: the names of the nodes from and to which each leads, and of its variant.
    pub fn edge_names(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
        let steps = self.nodes().zip(self.steps());
        steps.map(|(from, (edge, to))| (from, to.name, edge.offer.name))
    }

    /// The edges on it, by numbers that hold for this graph alone.
    pub fn edges(&self) -> impl Iterator<Item = usize> + '_ {
        self.edges.iter().map(|edge| edge.index())
    }

    /// Whether an emulator that has this of the model can run it.
    pub fn is_in(&self, available: &Availability) -> bool {
        available.nodes[self.machine.index()]
            && self.edges.iter().all(|edge| available.edges[edge.index()])
    }

    /// `/ARCH/MACHINE/NODE/…/SUITE/CASE`, as QEMU's framework spells it. A variant stands
    /// behind its node, `NODE:VARIANT`. What is done between set-up and check stands at the end,
    /// `…@reset`.
    pub fn name(&self) -> String {
        let mut name = format!("/{}", self.machine());
        for (edge, node) in self.steps() {
            name.push('/');
            name.push_str(node.name);
            if !edge.offer.name.is_empty() {
                name.push(':');
                name.push_str(edge.offer.name);
            }
        }
        if let Some(between) = self.between {
            name.push('@');
            name.push_str(between.word());
        }
        name
    }

    /// Whether it begins with an edge that was discovered: then the machine is as it
    /// described itself, also where it is declared otherwise.
    fn is_discovered(&self) -> bool {
        self.edges.first().is_some_and(|&edge| self.model.graph[edge].emulator.is_some())
    }

    /// Whether QEMU may refuse to start with what it said: a device of which only the type is
    /// known may need what is not there, and others say by which words QEMU refuses them.
    pub fn may_be_refused(&self, said: &str) -> bool {
        self.steps().any(|(edge, _)| {
            let words = edge.offer.args.refusals;
            matches!(edge.step, Step::Plug(..)) || words.iter().any(|word| said.contains(word))
        })
    }

    /// What declares the machine, if this path begins as that says.
    fn declared_boot(&self) -> Option<(Setup, BootFn)> {
        match self.model.graph[self.machine].boot {
            Some(Boot::Declared(setup, boot)) if !self.is_discovered() => Some((setup, boot)),
            _ => None,
        }
    }

    /// What the QEMU of this program and version is asked to be by the machine alone.
    pub fn machine_config(&self, emulator: &FilePath, version: Version) -> Config {
        let (_, machine) = self.machine().split_once('/').unwrap_or(("", self.machine()));
        if let Some((setup, _)) = self.declared_boot() {
            return setup.config(machine, version);
        }
        let described = self.model.described.get(&self.machine);
        match described.and_then(|it| it.get(emulator)) {
            Some(description) => description.config(version),
            None => Config::new(machine, "", RamSpec::new(0, 0)),
        }
    }

    /// What this emulator is asked to be on this path.
    pub fn config_on(&self, emulator: &Emulator) -> Config {
        match self.guest_words(emulator, emulator.guest_accel()) {
            None => {
                let mut config = self.config(&emulator.path, emulator.capabilities.version);
                if let Some(to) = emulator.moves_to.as_ref().filter(|_| config.moves) {
                    let (here, there) = (&emulator.capabilities, &to.capabilities);
                    // Where there is none, the move is what says so.
                    if let Ok(machine) = machine_on_both(&config.machine, here, there) {
                        config.machine = machine;
                    }
                    let options = self.config(&emulator.path, there.version).options;
                    if options != config.options {
                        config.options_there = options;
                    }
                }
                let environment = emulator.environment.iter();
                let words: Vec<String> = environment.flat_map(|it| it.words()).collect();
                if !config.options_there.is_empty() {
                    config.options_there.extend_from_slice(&words);
                }
                config.options.extend(words);
                config
            }
            Some(words) => {
                let (_, machine) = self.machine().split_once('/').unwrap_or_default();
                let mut config = Config::new(machine, "", RamSpec::new(0, 0));
                config.options = words;
                config.verbatim = true;
                config
            }
        }
    }

    /// A line for a shell that starts the same on this emulator.
    pub fn command_line(&self, emulator: &Emulator) -> String {
        let config = self.config_on(emulator);
        match self.guest() {
            Some(_) => shell_line(emulator, &config.options),
            None => config.pasteable(&emulator.path, emulator.module_dir()),
        }
    }

    /// What the QEMU of this program and version is asked to be on this path.
    pub fn config(&self, emulator: &FilePath, version: Version) -> Config {
        let mut config = self.machine_config(emulator, version);
        let mut plug = Plug::NONE;
        for (edge, node) in self.steps() {
            let Offer { args, variant, .. } = &edge.offer;
            config.options.extend(args.words(node.name, variant, plug, version));
            plug = edge.plug_after(plug);
            config.defaults |= args.defaults_since.is_some_and(|since| version.major >= since);
            config.images.extend_from_slice(edge.offer.args.images);
            config.sockets.extend_from_slice(edge.offer.args.sockets);
            config.folders.extend_from_slice(edge.offer.args.folders);
        }
        if self.declared_boot().is_none() {
            give_nic(&mut config);
        }
        config.moves = self.between == Some(Between::Migrate);
        config
    }

    /// Builds the objects along the path in a QEMU that was started with
    /// [`Path::config`], and runs the test on the last of them. They are dropped after the
    /// test, the last first.
    ///
    /// # Errors
    /// What a driver or the test found wrong. A panic of theirs is not caught here.
    pub fn run(&self, vm: &Rc<Vm>) -> Result<()> {
        match self.between {
            None if !self.errs() => self.run_with(vm, Marks::default()),
            Some(it @ Between::Migrate) => {
                self.run_with(vm, Marks { attached: Some(it), in_test: Some(it) })
            }
            // Who runs it looks only whether QEMU survives.
            None | Some(Between::Fuzz) => {
                self.run_with(vm, Marks { attached: Some(Between::Fuzz), in_test: None })
            }
            // Reset once its drivers are attached, and once more where its test says so.
            Some(it @ Between::Reset) => {
                let marks = Marks { attached: Some(it), in_test: None };
                self.begin_anew(
                    self.run_with(vm, marks),
                    vm,
                    Marks { in_test: Some(it), ..Marks::default() },
                )
            }
        }
    }

    /// Where the set-up ended `before`, resets the machine and runs the path again; what came of
    /// it, then or else before.
    fn begin_anew(&self, before: Result<()>, vm: &Rc<Vm>, marks: Marks) -> Result<()> {
        match before {
            Err(e) if matches!(e.root(), Error::SetUpEnds) => {
                vm.reset_between()?;
                let result = self.run_with(vm, marks);
                self.begin_anew(result, vm, Marks::default())
            }
            other => other,
        }
    }

    fn run_with(&self, vm: &Rc<Vm>, marks: Marks) -> Result<()> {
        vm.set_between(None);
        let site = Site { vm, node: self.machine(), variant: "", plug: Plug::NONE };
        let first = match self.declared_boot() {
            Some((_, boot)) => boot(&site).map_err(|e| attaching(site.node, e))?,
            None => Object::none(),
        };
        self.follow(&first, self.steps(), Plug::NONE, vm, marks)
    }

    fn follow<'a>(
        &self,
        at: &Object,
        mut steps: impl Iterator<Item = (&'a Edge, &'a NodeEntry)>,
        plug: Plug,
        vm: &Rc<Vm>,
        marks: Marks,
    ) -> Result<()> {
        let Some((edge, node)) = steps.next() else {
            // The graph has a test and something else of one name.
            return Err(Error::failed(format!("{} is not only a test", self.test())));
        };
        match &edge.step {
            // No test of ours runs on its machine.
            Step::Guest(_) | Step::Boot(_) => {
                Err(Error::failed(format!("{} is a guest, and needs CPUs that run", self.test())))
            }
            Step::Run(test) => {
                vm.set_between(marks.attached);
                vm.set_up_ends()?;
                vm.note_attached();
                vm.set_between(marks.in_test);
                (test.run)(at, vm)?;
                Ok(vm.qtest().flush()?)
            }
            Step::Find(find) => {
                let next = find.follow(vm).map_err(|e| attaching(node.name, e))?;
                self.follow(&next, steps, edge.plug_after(plug), vm, marks)
            }
            Step::Plug(plugged) => {
                let (node, variant) = (node.name, edge.offer.name);
                let site = Site { vm, node, variant, plug: edge.offer.args.plug(plug) };
                let next = plugged.follow(at, &site).map_err(|e| attaching(node, e))?;
                self.follow(&next, steps, edge.plug_after(plug), vm, marks)
            }
            Step::Follow(follow, offer) => {
                let (node, variant) = (node.name, edge.offer.name);
                let site = Site { vm, node, variant, plug: edge.offer.args.plug(plug) };
                let next = follow(at, &site, *offer).map_err(|e| attaching(node, e))?;
                self.follow(&next, steps, edge.plug_after(plug), vm, marks)
            }
        }
    }
}

/// What is done where.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    /// Once the objects are attached.
    attached: Option<Between>,
    /// Where the test says that its set-up ends.
    in_test: Option<Between>,
}

fn attaching(node: &str, e: Error) -> Error {
    e.context(format!("attaching {node}"))
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}
