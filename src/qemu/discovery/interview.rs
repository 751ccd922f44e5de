//! The questions to a running machine, and what its answers come to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::description::{
    Access, Description, Found, FoundBus, FoundRam, Inputs, Outputs, Property, RamPiece, Region,
    Space, numbered,
};
use super::mtree::{self, Owner};
use super::name::Name;
use super::needs;
use super::tree::{self, Object};
use super::types::Types;
use crate::protocol::{Endian, Error, Result};
use crate::qemu::capabilities::Version;
use crate::qemu::vm::Vm;

/// Somebody who answers: a machine, or what one has answered.
pub(super) trait Answers {
    /// What each of these QMP commands returns, in order.
    ///
    /// # Errors
    /// There is no answer to all of them.
    fn ask(&self, questions: &[(&str, Value)]) -> Result<Vec<Result<Value>>>;

    /// The byte order of the first CPU.
    ///
    /// # Errors
    /// There is no answer.
    fn endian(&self) -> Result<Endian>;
}

impl Answers for Vm {
    fn ask(&self, questions: &[(&str, Value)]) -> Result<Vec<Result<Value>>> {
        self.qmp().execute_all(questions)
    }

    fn endian(&self) -> Result<Endian> {
        self.qtest().endianness()
    }
}

/// What every device has, and nobody wants to know.
const COMMON: [&str; 5] = ["type", "realized", "hotplugged", "hotpluggable", "parent_bus"];

/// The types of all objects there are.
///
/// # Errors
/// There is no answer.
pub(super) fn types(machine: &dyn Answers) -> Result<Types> {
    let question = ("qom-list-types", json!({ "abstract": true }));
    let types = machine.ask(&[question])?.pop().unwrap_or(Ok(Value::Null))?;
    let types = types.as_array().map(Vec::as_slice).unwrap_or_default();
    let parents =
        types.iter().filter_map(|ty| Some((ty["name"].as_str()?, ty["parent"].as_str()?)));
    Ok(Types::new(parents.map(|(ty, parent)| (ty.into(), parent.into()))))
}

/// What is known of a machine before it is asked.
pub(super) struct Known<'k> {
    /// The version of QEMU.
    pub version: Version,
    /// The name under which the machine takes a memory backend for its RAM, if it does.
    pub ram_id: Option<&'k str>,
    /// The types of all objects there are.
    pub types: &'k Arc<Types>,
}

/// Asks the machine type `machine` what it has.
///
/// # Errors
/// There is no answer, or the monitor knows none of the questions.
pub(super) fn describe(from: &dyn Answers, machine: &str, known: &Known) -> Result<Description> {
    let &Known { version, ram_id, types } = known;
    let endian = from.endian()?;
    let monitor = |line: &str| ("human-monitor-command", json!({ "command-line": line }));
    let backend = format!("/objects/{}", ram_id.unwrap_or_default());
    let size = ("qom-get", json!({ "path": backend, "property": "size" }));
    let map =
        if needs::hides_owners(machine, version) { "info mtree -f" } else { "info mtree -f -o" };
    let asked = from.ask(&[monitor("info qom-tree"), monitor(map), size])?;
    let mut asked = asked.into_iter();
    let mut answer = || asked.next().unwrap_or(Ok(Value::Null));
    let (tree, map, size) = (text(answer()?), text(answer()?), answer());

    let objects = tree::objects(&tree);
    if objects.is_empty() {
        return Err(Error::Garbled {
            request: "info qom-tree".to_owned(),
            answer: tree.chars().take(200).collect(),
            expected: "a tree of objects".to_owned(),
        });
    }
    let mut names = Names::default();
    let mut devices = devices(from, &objects, types, &mut names)?;
    let mut others = Vec::new();
    let numbers: HashMap<Name, usize> =
        devices.iter().enumerate().map(|(number, device)| (device.path.clone(), number)).collect();
    let owners = Owners::new(&objects, types);
    for (owner, mut region) in mtree::regions(&map) {
        region.name = names.get(&region.name);
        let path = match owner {
            Owner::Path(path) => path,
            Owner::Id(id) => owners.by_id(id).unwrap_or_else(|| owners.by_region(&region.name)),
            Owner::Unknown => owners.by_region(&region.name),
        };
        match numbers.get(path) {
            Some(&number) => devices[number].regions.push(region),
            None => others.push((names.get(path), region)),
        }
    }
    let size = size.ok().and_then(|size| size.as_u64());
    let ram = ram(&devices, &others, ram_id, size, &mut names);
    values(from, &mut devices, types, &mut names);
    let (machine, types) = (machine.into(), types.clone());
    Ok(Description { machine, endian, ram, devices, others, types, pluggable: Arc::default() })
}

/// Whose regions are, where QEMU does not tell by a path.
struct Owners<'o, 'p> {
    objects: &'o [Object<'p>],
    is_device: Vec<bool>,
    types: &'o Types,
}

impl<'o, 'p> Owners<'o, 'p> {
    fn new(objects: &'o [Object<'p>], types: &'o Types) -> Self {
        let is_device = objects.iter().map(|object| types.is_a(object.ty, "device")).collect();
        Self { objects, is_device, types }
    }

    /// The path of the device with this id, if its path tells the id.
    fn by_id(&self, id: &str) -> Option<&'o str> {
        let mut devices = self.objects.iter().zip(&self.is_device).filter(|(_, is)| **is);
        devices.find(|(object, _)| object.name() == id).map(|(object, _)| &*object.path)
    }

    /// The path of the device that has a region called `name`; nothing if several have one,
    /// or none has.
    fn by_region(&self, name: &str) -> &'o str {
        let regions = self.objects.iter().filter(|object| {
            numbered(object.name()).is_some_and(|(other, _)| other == name)
                && self.types.is_a(object.ty, "memory-region")
        });
        let mut parents = regions.map(|region| region.parent);
        match (parents.next(), parents.next()) {
            (Some(Some(parent)), None) if self.is_device[parent] => &self.objects[parent].path,
            _ => "",
        }
    }
}

fn text(value: Value) -> String {
    match value {
        // Some monitors end lines as terminals do.
        Value::String(text) => text.replace('\r', ""),
        _ => String::new(),
    }
}

/// Names that are the same text are the same name.
#[derive(Default)]
struct Names(HashSet<Name>);

impl Names {
    fn get(&mut self, text: &str) -> Name {
        if let Some(name) = self.0.get(text) {
            return name.clone();
        }
        let name = Name::new(text);
        self.0.insert(name.clone());
        name
    }
}

fn get(path: &str, property: &str) -> (&'static str, Value) {
    ("qom-get", json!({ "path": path, "property": property }))
}

/// The devices among `objects`, without regions and values.
fn devices(
    from: &dyn Answers,
    objects: &[Object],
    types: &Types,
    names: &mut Names,
) -> Result<Vec<Found>> {
    let is_device: Vec<bool> =
        objects.iter().map(|object| types.is_a(object.ty, "device")).collect();
    let mut devices = BTreeMap::new();
    for object in objects.iter().zip(&is_device).filter(|(_, is)| **is).map(|(object, _)| object) {
        let (path, ty) = (names.get(&object.path), names.get(object.ty));
        devices.insert(path.clone(), Found { path, ty, ..Found::default() });
    }
    for object in objects {
        let Some(parent) = object.parent.filter(|&parent| is_device[parent]) else { continue };
        let Some(device) = devices.get_mut(&*objects[parent].path) else { continue };
        if types.is_a(object.ty, "bus") {
            let (name, ty) = (names.get(object.name()), names.get(object.ty));
            device.buses.push(FoundBus { name, ty });
        } else if types.is_a(object.ty, "irq") {
            let (name, _) = numbered(object.name()).unwrap_or((object.name(), 0));
            match device.inputs.iter_mut().find(|inputs| inputs.name == *name) {
                Some(inputs) => inputs.count += 1,
                None => device.inputs.push(Inputs { name: names.get(name), count: 1 }),
            }
        }
    }
    let mut devices: Vec<Found> = devices.into_values().collect();
    let lists = devices.iter().map(|device| ("qom-list", json!({ "path": &*device.path })));
    let lists = from.ask(&lists.collect::<Vec<_>>())?;
    let mut links = Vec::new();
    for (number, list) in lists.into_iter().enumerate() {
        let device = &mut devices[number];
        for (name, ty) in properties(&list) {
            if ty == "link<irq>" || name == "parent_bus" {
                links.push((number, name.to_owned()));
            } else if !ty.contains('<') && !COMMON.contains(&name) && !name.starts_with("legacy-") {
                let (name, ty) = (names.get(name), names.get(ty));
                device.properties.push(Property { name, ty, value: None });
            }
        }
    }
    let questions = links.iter().map(|(number, name)| get(&devices[*number].path, name));
    let ends = from.ask(&questions.collect::<Vec<_>>())?;
    for ((number, name), end) in links.into_iter().zip(ends) {
        let end = end.ok().and_then(|end| end.as_str().map(str::to_owned)).unwrap_or_default();
        connect(&mut devices[number], &name, &end, names);
    }
    for device in &mut devices {
        for outputs in &mut device.outputs {
            outputs.connected.sort_by_key(|(number, _)| *number);
        }
    }
    Ok(devices)
}

/// The names and types of properties, as `qom-list` answers them.
fn properties(list: &Result<Value>) -> impl Iterator<Item = (&str, &str)> {
    let list = list.as_ref().ok().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|entry| Some((entry["name"].as_str()?, entry["type"].as_str()?)))
}

/// Notes where the link `name` of a device leads: to `end`, if to anything.
fn connect(device: &mut Found, name: &str, end: &str, names: &mut Names) {
    if name == "parent_bus" {
        // Of the system bus there is one, in the same place in every machine.
        let said =
            !end.is_empty() && !end.ends_with("/sysbus") && !end.ends_with("/main-system-bus");
        device.bus = said.then(|| names.get(end));
        return;
    }
    let (name, number) = numbered(name).unwrap_or((name, 0));
    let at = device.outputs.iter().position(|outputs| outputs.name == *name);
    let at = at.unwrap_or_else(|| {
        let outputs = Outputs { name: names.get(name), count: 0, connected: Vec::new() };
        device.outputs.push(outputs);
        device.outputs.len() - 1
    });
    let outputs = &mut device.outputs[at];
    outputs.count = outputs.count.max(number.saturating_add(1));
    if !end.is_empty() {
        outputs.connected.push((number, names.get(end)));
    }
}

/// Asks for the values of properties. That a machine does not survive this does not matter
/// any more: then there are none.
fn values(from: &dyn Answers, devices: &mut [Found], types: &Types, names: &mut Names) {
    // What a CPU can do is hundreds of properties, and no concern of a device's driver.
    let wanted = |device: &&mut Found| !types.is_a(&device.ty, "cpu");
    let mut questions = Vec::new();
    for device in devices.iter_mut().filter(wanted) {
        questions
            .extend(device.properties.iter().map(|property| get(&device.path, &property.name)));
    }
    let Ok(answers) = from.ask(&questions) else { return };
    let properties = devices.iter_mut().filter(wanted).flat_map(|device| &mut device.properties);
    for (property, answer) in properties.zip(answers) {
        property.value = answer.ok().map(|value| names.get(&value.to_string()));
    }
}

/// The RAM: what the memory backend `id` holds, of `size` bytes; else, for the first CPU may
/// not see that, or there be none, the largest part of memory that is called RAM.
fn ram(
    devices: &[Found],
    others: &[(Name, Region)],
    id: Option<&str>,
    size: Option<u64>,
    names: &mut Names,
) -> Option<FoundRam> {
    let nobody = Name::default();
    let own = devices.iter().flat_map(|device| &device.regions).map(|region| (&nobody, region));
    let others = others.iter().map(|(owner, region)| (owner, region));
    let is_ram = |region: &Region| {
        (region.space, region.access) == (Space::Memory, Access::Ram) && !region.pieces.is_empty()
    };
    let ram: Vec<_> = others.chain(own).filter(|(_, region)| is_ram(region)).collect();
    if let Some(id) = id {
        let backend = format!("/objects/{id}");
        let held = |(owner, region): &&(&Name, &Region)| **owner == *backend || region.name == *id;
        let mut pieces: Vec<RamPiece> =
            ram.iter().filter(held).flat_map(|(_, region)| pieces(region)).collect();
        pieces.sort_by_key(|piece| piece.address);
        let end = pieces.iter().map(|piece| piece.offset.saturating_add(piece.size)).max();
        if let Some(end) = end {
            return Some(FoundRam { id: Some(names.get(id)), size: size.unwrap_or(end), pieces });
        }
    }
    // Video memory is no RAM for tests: a screen is drawn from it. Neither is what may be
    // the content of a chip.
    let called = |region: &&Region| {
        let name = region.name.to_ascii_lowercase();
        name.contains("ram") && !["vram", "nvram", "video"].iter().any(|not| name.contains(not))
    };
    let largest = |regions: &mut dyn Iterator<Item = &Region>| {
        let lowest_last = |region: &&Region| (region.size(), std::cmp::Reverse(region.base));
        regions.max_by_key(lowest_last).cloned()
    };
    let regions = || ram.iter().map(|(_, region)| *region);
    let region = largest(&mut regions().filter(called)).or_else(|| largest(&mut regions()))?;
    Some(FoundRam { id: None, size: region.size(), pieces: pieces(&region).collect() })
}

fn pieces(region: &Region) -> impl Iterator<Item = RamPiece> {
    region.pieces.iter().map(|piece| RamPiece {
        address: region.address(piece.offset),
        offset: piece.offset,
        size: (piece.last - piece.offset).saturating_add(1),
    })
}

#[cfg(test)]
mod tests;
