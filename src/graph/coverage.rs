//! How much of one emulator the paths reach: which machine types, which device types, and
//! whether by a suite of their own or by one that takes any device.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};

use super::discovered::DiscoveryDecl;
use super::model::{Availability, Kind, Model, Step};
use crate::qemu::Emulator;
use crate::qemu::discovery::is_versioned;

/// How something is reached.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// By no path.
    #[default]
    None,
    /// By suites that know nothing of it.
    Generic,
    /// By a suite of its own.
    Own,
}

/// What of one emulator is reached, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Its machine types, those apart that are versions of others.
    pub machines: BTreeMap<String, Reach>,
    /// Its device types: those that a user can plug in, and those that its machines have.
    pub devices: BTreeMap<String, Reach>,
}

impl Coverage {
    /// How many machine types are reached at least so.
    pub fn machines_reached(&self, least: Reach) -> usize {
        self.machines.values().filter(|reach| **reach >= least).count()
    }

    /// How many device types are reached at least so.
    pub fn devices_reached(&self, least: Reach) -> usize {
        self.devices.values().filter(|reach| **reach >= least).count()
    }
}

impl Model {
    /// What of `emulator` is reached by paths. Types of devices that are on machines only are
    /// known of those machines that described themselves to this graph.
    pub fn coverage(&self, emulator: &Emulator) -> Coverage {
        let has = &emulator.capabilities;
        let available = self.availability_on(has, &emulator.path);
        let leads = self.leads_to_test(|edge| available.edges[edge.index()]);
        let machines = has.machines.keys().map(String::as_str);
        let machines = machines.filter(|name| *name != "none" && !is_versioned(name));
        let mut coverage = Coverage {
            machines: machines.map(|name| (name.to_owned(), Reach::None)).collect(),
            devices: has.devices.iter().map(|name| (name.clone(), Reach::None)).collect(),
        };
        for machine in self.described_by(emulator) {
            for device in &self.described[&machine][&emulator.path].devices {
                coverage.devices.entry(device.ty.to_string()).or_default();
            }
        }
        for node in self.reachable(&available) {
            let from = &self.graph[node];
            for edge in self.graph.edges(node) {
                let to = &self.graph[edge.target()];
                if !available.edges[edge.id().index()] || !leads[edge.target().index()] {
                    continue;
                }
                let is_own =
                    !to.is_generic && (from.kind != Kind::Machine || to.kind != Kind::Test);
                let reach = if is_own { Reach::Own } else { Reach::Generic };
                if let (Kind::Machine, Some((_, name))) = (from.kind, from.name.split_once('/'))
                    && let Some(known) = coverage.machines.get_mut(name)
                {
                    *known = reach.max(*known);
                }
                let edge = edge.weight();
                let found = match &edge.step {
                    Step::Find(find) => find.device_type(),
                    _ => None,
                };
                let plugged = edge.offer.args.device_name(to.name);
                let plugged = plugged.map(|it| self.find(it).map_or(it, |node| node.device));
                for ty in found.into_iter().chain(plugged) {
                    let known = coverage.devices.entry(ty.to_owned()).or_default();
                    *known = reach.max(*known);
                }
                if from.kind == Kind::Machine {
                    self.cover_declared(node, to.name, emulator, &mut coverage);
                }
            }
        }
        coverage
    }

    /// The machines that described themselves on this emulator.
    fn described_by<'a>(&'a self, emulator: &'a Emulator) -> impl Iterator<Item = NodeIndex> + 'a {
        let described = self.described.iter();
        let here = described.filter(|(_, by)| by.contains_key(&emulator.path));
        here.map(|(machine, _)| *machine)
    }

    /// Everything that a path can come to, from the machines on.
    fn reachable(&self, available: &Availability) -> Vec<NodeIndex> {
        let is_start = |&node: &NodeIndex| {
            self.graph[node].kind == Kind::Machine && available.nodes[node.index()]
        };
        let mut found: Vec<NodeIndex> = self.graph.node_indices().filter(is_start).collect();
        let mut is_found = vec![false; self.graph.node_count()];
        found.iter().for_each(|node| is_found[node.index()] = true);
        let mut next = 0;
        while let Some(&node) = found.get(next) {
            next += 1;
            for edge in self.graph.edges(node) {
                let to = edge.target();
                if available.edges[edge.id().index()]
                    && !std::mem::replace(&mut is_found[to.index()], true)
                {
                    found.push(to);
                }
            }
        }
        found
    }

    /// Where a machine is declared to contain a driver, the devices that the driver would have
    /// recognised there are reached by it.
    fn cover_declared(
        &self,
        machine: NodeIndex,
        driver: &str,
        emulator: &Emulator,
        coverage: &mut Coverage,
    ) {
        let description = self.described.get(&machine).and_then(|by| by.get(&emulator.path));
        let Some(description) = description else { return };
        let mut recognised = inventory::iter::<DiscoveryDecl>.into_iter();
        let Some(decl) = recognised.find(|decl| decl.to.contains(&driver)) else { return };
        let reach = if decl.is_generic { Reach::Generic } else { Reach::Own };
        for device in decl.driven(description) {
            let known = coverage.devices.entry(device.ty.to_string()).or_default();
            *known = reach.max(*known);
        }
    }
}
