//! The interface `registers`: a device's registers with what is declared of them. One generic
//! suite (`src/tests/registers`) checks all of it for every device that produces this.

use std::rc::Rc;

use super::{AnyRegister, Declaration, Registers, Width};
use crate::protocol::Endian;
use crate::qemu::{Version, Vm};
use crate::{Result, interface};

/// What the generic suite checks of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It has its reset value when the machine has started.
    ResetValue,
    /// Its kept bits keep what is written.
    Kept,
    /// Its read-only bits stay whatever is written.
    ReadOnly,
    /// Ones clear a bit that is set, zeroes do not.
    WriteOneToClear,
    /// Ones set a bit, zeroes do not clear it.
    WriteOneToSet,
    /// Reading clears it.
    ClearsOnRead,
    /// Writing another register does not change it.
    Neighbours,
    /// Accesses of every accepted width see the same bits.
    Widths,
    /// A reset by software gives it its reset value.
    SoftwareReset,
    /// A reset of the machine gives it its reset value.
    MachineReset,
}

/// What QEMU is known to do otherwise than the data sheet says. The generic suite excuses these
/// bits, and no others; its case `known-faults` tells which of the listed faults a QEMU has.
///
/// ```
/// use qgraph::qos::registers::{Fault, Rule};
///
/// const MPC: Fault = Fault::new(&["MPC"], &[Rule::ClearsOnRead], "e1000: MPC is not cleared")
///     .since(2, 0)
///     .before(9, 1);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    registers: &'static [&'static str],
    rules: &'static [Rule],
    bits: u64,
    since: Version,
    before: Version,
    what: &'static str,
}

impl Fault {
    /// `registers`, by name, break `rules`; `what` says so in words, the device first. No name
    /// is all registers.
    pub const fn new(
        registers: &'static [&'static str],
        rules: &'static [Rule],
        what: &'static str,
    ) -> Self {
        let (since, before) = (Version::new(0, 0, 0), Version::new(u32::MAX, 0, 0));
        Self { registers, rules, bits: u64::MAX, since, before, what }
    }

    /// Only these bits are wrong.
    pub const fn bits(self, bits: u64) -> Self {
        Self { bits, ..self }
    }

    /// QEMUs before this one do it right.
    pub const fn since(self, major: u32, minor: u32) -> Self {
        Self { since: Version::new(major, minor, 0), ..self }
    }

    /// This QEMU and later ones do it right.
    pub const fn before(self, major: u32, minor: u32) -> Self {
        Self { before: Version::new(major, minor, 0), ..self }
    }

    /// What is wrong, in words.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Whether all registers have it.
    pub const fn is_general(&self) -> bool {
        self.registers.is_empty()
    }

    fn applies(&self, version: Version) -> bool {
        version >= self.since && version < self.before
    }

    /// The bits of `register` that break `rule` by this fault in a QEMU of that version.
    pub fn bits_of(&self, register: &Declaration, rule: Rule, version: Version) -> u64 {
        let applies = self.applies(version)
            && (self.registers.is_empty() || self.registers.contains(&register.name))
            && self.rules.contains(&rule);
        if applies { self.bits } else { 0 }
    }
}

/// Does something to a device through its registers.
type Act = Box<dyn Fn(&dyn Registers) -> Result<()>>;

/// Finds a device's registers again.
type Attach = Box<dyn Fn() -> Result<Rc<dyn Registers>>>;

/// How a test sets status bits that only the device itself sets.
pub struct Raise {
    /// The register.
    pub register: Declaration,
    /// The bits that [`Raise::how`] sets, of which none was set before.
    pub bits: u64,
    /// Sets them, and waits until they are set.
    pub how: Act,
}

/// A device's registers: those of a `driver!` that `produces RegisterBlock`.
///
/// ```
/// use std::rc::Rc;
///
/// use qgraph::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
/// use qgraph::{graph::Produces, protocol::Endian, qemu::Vm};
///
/// const ID: Register<u32> = Register::new("ID", 0).section("3.1").reset(0x8001).read_only();
/// const CONTROL: Register<u32> = Register::new("CONTROL", 4).section("3.2").reset(0)
///     .kept(0xff).acts(1 << 31);
/// const REGISTERS: &[&dyn AnyRegister] = &[&ID, &CONTROL];
///
/// /// A device in memory.
/// struct Timer(Rc<Mmio>);
///
/// impl Produces<RegisterBlock> for Timer {
///     fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
///         let block = RegisterBlock::new("Timer manual", self.0.clone(), REGISTERS)
///             .software_reset(|registers| registers.set(CONTROL, 1 << 31));
///         Rc::new(block)
///     }
/// }
/// # impl qgraph::graph::Node for Timer { const NAMES: &'static [&'static str] = &["timer"]; }
/// ```
pub struct RegisterBlock {
    sheet: &'static str,
    registers: Rc<dyn Registers>,
    declared: Vec<Declaration>,
    touched: Vec<u64>,
    widths: &'static [Width],
    order: Endian,
    prepare: Option<Act>,
    software_reset: Option<Act>,
    attach: Option<Attach>,
    /// Whether finding the registers again writes what [`RegisterBlock::touched`] names.
    attach_writes: bool,
    raises: Vec<Raise>,
    faults: Vec<Fault>,
}

interface!(RegisterBlock = "registers");

impl RegisterBlock {
    /// `registers`, of which `table` says what the data sheet `sheet` says.
    pub fn new(
        sheet: &'static str,
        registers: Rc<dyn Registers>,
        table: &[&dyn AnyRegister],
    ) -> Self {
        Self {
            sheet,
            registers,
            declared: table.iter().map(|register| register.declaration()).collect(),
            touched: Vec::new(),
            widths: &[],
            order: Endian::Little,
            prepare: None,
            software_reset: None,
            attach: None,
            attach_writes: true,
            raises: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// Further registers.
    pub fn with(mut self, table: &[&dyn AnyRegister]) -> Self {
        self.declared.extend(table.iter().map(|register| register.declaration()));
        self
    }

    /// `count` registers like `first`, `stride` bytes apart.
    pub fn with_array(self, first: &dyn AnyRegister, count: u64, stride: u64) -> Self {
        self.with_pages(first, 0, count, stride)
    }

    /// `count` registers like `first`, `stride` bytes apart, the first of them number `begin`.
    pub fn with_pages(
        mut self,
        first: &dyn AnyRegister,
        begin: u64,
        count: u64,
        stride: u64,
    ) -> Self {
        self.declared.extend((begin..begin + count).map(|index| {
            let first = first.declaration();
            Declaration { index: Some(index), offset: first.offset + index * stride, ..first }
        }));
        self
    }

    /// What of this device is declared otherwise than of its family, such as the reset value
    /// of an address that it is given: replaces the register at the same offset.
    pub fn replace(mut self, register: &dyn AnyRegister) -> Self {
        let new = register.declaration();
        for old in self.declared.iter_mut().filter(|old| old.offset == new.offset) {
            *old = new;
        }
        self
    }

    /// Changes every declaration, for a device with the same registers several times.
    pub fn map(mut self, change: impl Fn(Declaration) -> Declaration) -> Self {
        self.declared = self.declared.into_iter().map(change).collect();
        self
    }

    /// Registers that the driver has written when it attached the device.
    pub fn touched(mut self, table: &[&dyn AnyRegister]) -> Self {
        self.touched.extend(table.iter().map(|register| register.declaration().offset));
        self
    }

    /// Accesses of these widths reach all bytes, besides a register's own width.
    pub fn widths(self, widths: &'static [Width]) -> Self {
        Self { widths, ..self }
    }

    /// The order of bytes in a register that is read by bytes; little-endian without.
    pub fn order(self, order: Endian) -> Self {
        Self { order, ..self }
    }

    /// What must be done before registers keep what is written, such as a clock turned on.
    pub fn prepare(self, how: impl Fn(&dyn Registers) -> Result<()> + 'static) -> Self {
        Self { prepare: Some(Box::new(how)), ..self }
    }

    /// How software resets the device; returns when that is over.
    pub fn software_reset(self, how: impl Fn(&dyn Registers) -> Result<()> + 'static) -> Self {
        Self { software_reset: Some(Box::new(how)), ..self }
    }

    /// How the registers are found again after a reset of the machine; without, they stay
    /// where they are.
    pub fn attach(self, how: impl Fn() -> Result<Rc<dyn Registers>> + 'static) -> Self {
        Self { attach: Some(Box::new(how)), ..self }
    }

    /// As [`RegisterBlock::attach`], where that leaves the registers as the reset made them,
    /// those included that the driver wrote when it attached the device first.
    pub fn attach_untouched(self, how: impl Fn() -> Result<Rc<dyn Registers>> + 'static) -> Self {
        Self { attach_writes: false, ..self.attach(how) }
    }

    /// How status bits are set that only the device sets.
    pub fn raise(
        mut self,
        register: &dyn AnyRegister,
        bits: u64,
        how: impl Fn(&dyn Registers) -> Result<()> + 'static,
    ) -> Self {
        let register = register.declaration();
        self.raises.push(Raise { register, bits, how: Box::new(how) });
        self
    }

    /// What QEMU is known to do otherwise.
    pub fn faults(mut self, faults: &[Fault]) -> Self {
        self.faults.extend(faults);
        self
    }
}

/// What the generic suite asks.
impl RegisterBlock {
    /// The title of the data sheet.
    pub fn sheet(&self) -> &'static str {
        self.sheet
    }

    /// The registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// What is declared of them.
    pub fn declared(&self) -> &[Declaration] {
        &self.declared
    }

    /// Whether the driver has written `register` when it attached the device.
    pub fn is_touched(&self, register: &Declaration) -> bool {
        self.touched.contains(&register.offset)
    }

    /// Whether the bytes of `register` can be accessed in this width.
    pub fn accepts(&self, register: &Declaration, width: Width) -> bool {
        width == register.width || register.widths.unwrap_or(self.widths).contains(&width)
    }

    /// The order of bytes in a register that is read by bytes.
    pub fn byte_order(&self) -> Endian {
        self.order
    }

    /// Makes registers keep what is written.
    ///
    /// # Errors
    /// Returns the error of the device's own preparation.
    pub fn make_ready(&self) -> Result<()> {
        self.prepare.as_ref().map_or(Ok(()), |prepare| prepare(self.registers()))
    }

    /// The faults that the QEMU of `vm` should have by its version, in words.
    pub fn listed_faults(&self, vm: &Vm) -> Vec<&'static str> {
        let version = vm.emulator().capabilities.version;
        let is_here = |fault: &&Fault| {
            let named = |it: &Declaration| fault.registers.contains(&it.name);
            fault.applies(version) && (fault.is_general() || self.declared.iter().any(named))
        };
        let listed = self.faults.iter().filter(is_here);
        listed.map(Fault::what).collect()
    }

    /// Whether the QEMU of `vm` is known to leave registers as they are in a reset of the
    /// machine, so that whoever writes them leaves a trace.
    pub fn leaves_traces(&self, vm: &Vm) -> bool {
        let version = vm.emulator().capabilities.version;
        self.faults.iter().any(|fault| {
            fault.applies(version)
                && fault.rules.contains(&Rule::MachineReset)
                && !fault.rules.contains(&Rule::ResetValue)
        })
    }

    /// Whether software can reset the device.
    pub fn has_software_reset(&self) -> bool {
        self.software_reset.is_some()
    }

    /// Resets the device by software, and waits until that is over.
    ///
    /// # Errors
    /// Returns an error if the reset does not end.
    pub fn reset_by_software(&self) -> Result<()> {
        self.software_reset.as_ref().map_or(Ok(()), |reset| reset(self.registers()))
    }

    /// Whether the driver writes registers when it finds them again after a reset of the machine.
    pub fn moves(&self) -> bool {
        self.attach.is_some() && self.attach_writes
    }

    /// The registers after a reset of the machine.
    ///
    /// # Errors
    /// Returns the error of the driver if the device cannot be attached again.
    pub fn attached_again(&self) -> Result<Rc<dyn Registers>> {
        self.attach.as_ref().map_or_else(|| Ok(self.registers.clone()), |attach| attach())
    }

    /// How status bits can be set.
    pub fn raises(&self) -> &[Raise] {
        &self.raises
    }

    /// The faults that the QEMU of `vm` has in these bits, and the bits that are left.
    pub fn known(
        &self,
        vm: &Vm,
        register: &Declaration,
        rule: Rule,
        bits: u64,
    ) -> (Vec<Fault>, u64) {
        let version = vm.emulator().capabilities.version;
        let mut left = bits;
        let mut known = Vec::new();
        for fault in &self.faults {
            let explained = bits & fault.bits_of(register, rule, version);
            if explained != 0 {
                known.push(*fault);
                left &= !explained;
            }
        }
        (known, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qos::registers::Register;

    /// Would catch a fault that excuses other registers, rules, bits or versions than its own.
    #[test]
    fn a_fault_excuses_only_what_it_names() {
        const FAULT: Fault =
            Fault::new(&["A"], &[Rule::Kept], "A").bits(0x0f).since(6, 0).before(7, 2);
        const A: Register<u8> = Register::new("A", 0);
        const B: Register<u8> = Register::new("B", 1);
        let bits = |register: Register<u8>, rule, major, minor| {
            FAULT.bits_of(&register.declaration(), rule, Version::new(major, minor, 3))
        };
        assert_eq!(bits(A, Rule::Kept, 6, 0), 0x0f);
        assert_eq!(bits(A, Rule::Kept, 7, 1), 0x0f);
        assert_eq!(bits(A, Rule::Kept, 7, 2), 0);
        assert_eq!(bits(A, Rule::Kept, 5, 2), 0);
        assert_eq!(bits(A, Rule::ReadOnly, 6, 0), 0);
        assert_eq!(bits(B, Rule::Kept, 6, 0), 0);
    }
}
