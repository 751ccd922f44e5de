//! For tests only: a bus whose functions are nothing but configuration space.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{PciAddress, PciBus, PciDevice, Space, Windows, regs};
use crate::qos::registers::{Registers, Width};
use crate::{Error, Result};

/// The only function, unless a test adds others.
pub(super) const AT: PciAddress = PciAddress::new(3, 0);

/// Configuration space: what is in it, and which bits can be written.
pub(super) struct Function {
    bytes: [u8; 256],
    writable: [u8; 256],
}

impl Function {
    /// A function with all of Command's first three bits and nothing else.
    pub(super) fn new() -> Self {
        let mut function = Self { bytes: [0; 256], writable: [0; 256] };
        function.set(regs::VENDOR_ID, 0x1234).set(regs::COMMAND, 0);
        function.writable(regs::COMMAND, 0x7);
        function
    }

    /// Puts 32 bits there.
    pub(super) fn set(&mut self, register: u16, value: u32) -> &mut Self {
        let at = usize::from(register);
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Lets these bits, and of those 32 no others, be written.
    pub(super) fn writable(&mut self, register: u16, bits: u32) -> &mut Self {
        let at = usize::from(register);
        self.writable[at..at + 4].copy_from_slice(&bits.to_le_bytes());
        self
    }

    /// A BAR with these flags, the bits of `mask` writable.
    pub(super) fn bar(&mut self, number: u16, flags: u32, mask: u32) -> &mut Self {
        let register = regs::BASE_ADDRESS_0 + 4 * number;
        self.set(register, flags).writable(register, mask)
    }

    fn get(&self, register: u16, width: Width) -> u32 {
        let at = usize::from(register);
        let bytes = &self.bytes[at..at + width.bytes()];
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    fn put(&mut self, register: u16, width: Width, value: u32) {
        for (number, byte) in value.to_le_bytes().into_iter().enumerate().take(width.bytes()) {
            let at = usize::from(register) + number;
            let keep = !self.writable[at];
            self.bytes[at] = self.bytes[at] & keep | byte & !keep;
        }
    }
}

/// Space, address and width of an access, and the value written.
type Access = (Space, u64, Width, Option<u64>);

/// The bus. It fails a test that writes a BAR while its function responds to accesses.
pub(super) struct FakeBus {
    functions: RefCell<BTreeMap<PciAddress, Function>>,
    windows: Windows,
    /// The last access to a space.
    pub(super) last: Rc<Cell<Option<Access>>>,
    io: FakeSpace,
    memory: FakeSpace,
    /// How many more configuration accesses succeed.
    pub(super) left: Cell<usize>,
}

impl FakeBus {
    /// Windows of 64 KiB of ports from 0x1000 and 256 MiB of memory from 0xe000_0000 on, and
    /// one function at [`AT`].
    pub(super) fn with(function: &mut Function) -> (Rc<Self>, PciDevice) {
        Self::windowed((0x1000, 0x1_0000), (0xe000_0000, 0x1000_0000), function)
    }

    /// The same with other windows.
    pub(super) fn windowed(
        io: (u64, u64),
        memory: (u64, u64),
        function: &mut Function,
    ) -> (Rc<Self>, PciDevice) {
        let function = std::mem::replace(function, Function::new());
        let last = Rc::new(Cell::new(None));
        let bus = Rc::new(Self {
            functions: BTreeMap::from([(AT, function)]).into(),
            windows: Windows::new(io, memory),
            io: FakeSpace(Space::Io, last.clone()),
            memory: FakeSpace(Space::Memory, last.clone()),
            last,
            left: Cell::new(usize::MAX),
        });
        let seen: Rc<dyn PciBus> = bus.clone();
        (bus, PciDevice::find(&seen, AT).unwrap())
    }

    /// 32 bits of the function's configuration space.
    pub(super) fn raw(&self, register: u16) -> u32 {
        self.functions.borrow()[&AT].get(register, Width::Long)
    }

    /// Changes the function behind everybody's back.
    pub(super) fn change(&self, change: impl FnOnce(&mut Function)) {
        change(self.functions.borrow_mut().get_mut(&AT).unwrap());
    }

    fn count(&self) -> Result<()> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| Error::failed("the bus broke"))?;
        self.left.set(left);
        Ok(())
    }
}

impl PciBus for FakeBus {
    fn config_read(&self, at: PciAddress, register: u16, width: Width) -> Result<u32> {
        self.count()?;
        let functions = self.functions.borrow();
        let ones = !0 >> (32 - 8 * width.bytes());
        Ok(functions.get(&at).map_or(ones, |function| function.get(register, width)))
    }

    fn config_write(&self, at: PciAddress, register: u16, width: Width, value: u32) -> Result<()> {
        self.count()?;
        if let Some(function) = self.functions.borrow_mut().get_mut(&at) {
            let responds = function.get(regs::COMMAND, Width::Word) & 0x3;
            let is_bar = (0x10..0x28).contains(&register);
            assert!(!is_bar || responds == 0, "a BAR is written while the function responds");
            function.put(register, width, value);
        }
        Ok(())
    }

    fn space(&self, space: Space) -> &dyn Registers {
        match space {
            Space::Io => &self.io,
            Space::Memory => &self.memory,
        }
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }
}

/// A space, and the last access to any.
struct FakeSpace(Space, Rc<Cell<Option<Access>>>);

impl Registers for FakeSpace {
    fn read(&self, address: u64, width: Width) -> Result<u64> {
        self.1.set(Some((self.0, address, width, None)));
        Ok(0x5a)
    }

    fn write(&self, address: u64, width: Width, value: u64) -> Result<()> {
        self.1.set(Some((self.0, address, width, Some(value))));
        Ok(())
    }
}
