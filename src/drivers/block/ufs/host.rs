//! A UFS host controller that is enabled (JESD223E, 7.1), with its list of requests or its queues.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::registers::{self as regs, queue};
use super::upiu::{self, Done, Query, Request};
use crate::qemu::{Buffer, Vm};
use crate::qos::pci::Bar;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// The size of a transfer request descriptor, and of an entry of either queue, in bytes.
const DESCRIPTOR: usize = 32;
/// The size of a command descriptor in bytes, and where the answer and the list of pieces are.
const COMMAND: usize = 8192;
const ANSWER: usize = 1024;
const PIECES: usize = 2048;
/// The most pieces of a request.
pub const MOST_PIECES: usize = (COMMAND - PIECES) / 16;
/// The entries of a queue.
pub const ENTRIES: u32 = 8;
/// The flag that the device clears once it is ready (JESD220F, 14.2).
pub const DEVICE_INIT: u8 = 0x01;

/// How requests get to the device.
enum Way {
    /// The list of requests, with a door bell.
    List(Buffer),
    /// A pair of queues.
    Queues(Queues),
}

struct Queues {
    submission: Buffer,
    completion: Buffer,
    /// Where their doorbells are, and the status of the completion queue.
    at: (u64, u64, u64),
    /// Where its attributes are.
    base: u64,
    tail: Cell<u32>,
    head: Cell<u32>,
}

/// The controller, as long as it is enabled.
pub struct Host {
    vm: Rc<Vm>,
    registers: Rc<Bar>,
    way: Way,
    commands: RefCell<Vec<Rc<Buffer>>>,
    /// Whether its queues are disabled before it is.
    disables_queues: Cell<bool>,
}

impl Host {
    /// Disables the controller, enables it anew, starts the link and waits until the device is
    /// ready (JESD223E, 7.1.1).
    ///
    /// # Errors
    /// Returns an error if it does not get ready, or no guest memory is left.
    pub fn start(registers: &Rc<Bar>, vm: &Rc<Vm>, with_queues: bool) -> Result<Self> {
        registers.set(regs::HCE, 0)?;
        wait_until(vm, "the controller to be disabled", || Ok(registers.get(regs::HCE)? & 1 == 0))?;
        registers.set(regs::HCE, 1)?;
        wait_until(vm, "the controller to be enabled", || Ok(registers.get(regs::HCE)? & 1 == 1))?;
        wait_until(vm, "a UIC command to be possible", || {
            Ok(registers.get(regs::HCS)? & regs::HCS_UCRDY != 0)
        })?;
        registers.set(regs::UICCMD, regs::DME_LINK_STARTUP)?;
        wait_until(vm, "the start of the link", || Ok(registers.get(regs::IS)? & regs::UCCS != 0))?;
        let result = registers.get(regs::UCMDARG2)? & 0xff;
        registers.set(regs::IS, regs::UCCS)?;
        let (status, ready) =
            (registers.get(regs::HCS)?, regs::HCS_DP | regs::HCS_UTRLRDY | regs::HCS_UTMRLRDY);
        if result != 0 || status & ready != ready {
            let why = format!("the link does not start: result {result:#x}, {status:#x}");
            return Err(Error::failed(why));
        }
        registers.set(regs::IE, regs::UTRCS | regs::UCCS | regs::CQES)?;
        let way = match with_queues {
            true => Way::Queues(queues(registers, vm)?),
            false => Way::List(list(registers, vm)?),
        };
        let (vm, registers) = (vm.clone(), registers.clone());
        let host = Self {
            vm,
            registers,
            way,
            commands: RefCell::default(),
            disables_queues: Cell::new(true),
        };
        host.run(Request::nop(), "NOP OUT")?;
        host.query(Query::SetFlag, (DEVICE_INIT, 0), 0)?;
        wait_until(&host.vm, "the device to be ready", || {
            Ok(host.query(Query::ReadFlag, (DEVICE_INIT, 0), 0)?.value() == 0)
        })?;
        Ok(host)
    }

    /// Has the queues go with the controller alone, once that is disabled.
    pub fn leave_queues(&self) {
        self.disables_queues.set(false);
    }

    /// The machine that it is in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// Its registers.
    pub fn registers(&self) -> &Rc<Bar> {
        &self.registers
    }

    /// How many requests can be under way.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn slots(&self) -> Result<u32> {
        match &self.way {
            Way::List(_) => Ok((self.registers.get(regs::CAP)? & regs::CAP_NUTRS) + 1),
            Way::Queues(_) => Ok(ENTRIES - 1),
        }
    }

    /// The command descriptor of a slot.
    fn command(&self, slot: usize) -> Result<Rc<Buffer>> {
        let mut commands = self.commands.borrow_mut();
        while commands.len() <= slot {
            commands.push(Rc::new(self.vm.ram().alloc(COMMAND, 128)?));
        }
        Ok(commands[slot].clone())
    }

    /// Writes a request to the command descriptor of `slot`; returns the transfer request
    /// descriptor.
    fn place(&self, slot: usize, request: &Request) -> Result<[u8; DESCRIPTOR]> {
        let command = self.command(slot)?;
        command.write(0, &vec![0; COMMAND])?;
        let mut upiu = request.upiu.clone();
        upiu[3] = slot as u8;
        command.write(0, &upiu)?;
        for (number, (address, length)) in request.pieces.iter().enumerate() {
            command.write_le64(PIECES + 16 * number, *address)?;
            command.write_le32(PIECES + 16 * number + 12, *length)?;
        }
        let address = command.address().0;
        let mut descriptor = [0; DESCRIPTOR];
        let first = u32::from(request.kind) << 28 | u32::from(request.direction) << 25 | 1 << 24;
        let (offset, length) =
            request.told_answer.unwrap_or(((ANSWER / 4) as u16, ((PIECES - ANSWER) / 4) as u16));
        let pieces = request.told_pieces.unwrap_or(request.pieces.len() as u16);
        descriptor[..4].copy_from_slice(&first.to_le_bytes());
        descriptor[8] = upiu::OCS_INVALID;
        descriptor[16..24].copy_from_slice(&address.to_le_bytes());
        descriptor[24..26].copy_from_slice(&length.to_le_bytes());
        descriptor[26..28].copy_from_slice(&offset.to_le_bytes());
        descriptor[28..30].copy_from_slice(&pieces.to_le_bytes());
        descriptor[30..32].copy_from_slice(&((PIECES / 4) as u16).to_le_bytes());
        Ok(descriptor)
    }

    /// Makes requests all at once and waits for all of them; returns what became of each.
    ///
    /// # Errors
    /// Returns an error if one does not come back, or there are more than slots.
    pub fn run_all(&self, requests: &[Request]) -> Result<Vec<Done>> {
        if requests.len() > self.slots()? as usize {
            return Err(Error::failed(format!("{} requests at once", requests.len())));
        }
        let descriptors: Result<Vec<_>> =
            requests.iter().enumerate().map(|(slot, it)| self.place(slot, it)).collect();
        let status = match &self.way {
            Way::List(list) => self.ring(list, &descriptors?)?,
            Way::Queues(queues) => self.enqueue(queues, &descriptors?)?,
        };
        let done = status.into_iter().enumerate().map(|(slot, ocs)| {
            let mut upiu = vec![0; PIECES - ANSWER];
            self.command(slot)?.read(ANSWER, &mut upiu)?;
            Ok(Done { ocs, upiu })
        });
        done.collect()
    }

    /// Hands a request over in the first slot, and does not wait for it.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub fn hand_over(&self, request: &Request) -> Result<()> {
        let descriptor = self.place(0, request)?;
        match &self.way {
            Way::List(list) => {
                list.write(0, &descriptor)?;
                self.registers.set(regs::UTRLDBR, 1)
            }
            Way::Queues(queues) => {
                queues.submission.write(queues.tail.get() as usize, &descriptor)?;
                let tail = (queues.tail.get() + DESCRIPTOR as u32) % (ENTRIES * DESCRIPTOR as u32);
                queues.tail.set(tail);
                self.registers.write32(queues.at.0 + 4, tail)
            }
        }
    }

    fn ring(&self, list: &Buffer, descriptors: &[[u8; DESCRIPTOR]]) -> Result<Vec<u8>> {
        let registers = &self.registers;
        for (slot, descriptor) in descriptors.iter().enumerate() {
            list.write(slot * DESCRIPTOR, descriptor)?;
        }
        let bells = u32::MAX >> (32 - descriptors.len());
        registers.set(regs::UTRLDBR, bells)?;
        wait_until(&self.vm, "the requests to be complete", || {
            Ok(registers.get(regs::UTRLDBR)? & bells == 0)
        })?;
        if registers.get(regs::IS)? & regs::UTRCS == 0 {
            return Err(Error::failed("requests are complete, and IS.UTRCS is clear"));
        }
        registers.set(regs::IS, regs::UTRCS)?;
        let notified = registers.get(regs::UTRLCNR)?;
        registers.set(regs::UTRLCNR, notified)?;
        if notified != bells {
            return Err(Error::failed(format!("UTRLCNR is {notified:#x}, not {bells:#x}")));
        }
        (0..descriptors.len())
            .map(|slot| Ok(list.read_le32(slot * DESCRIPTOR + 8)? as u8))
            .collect()
    }

    fn enqueue(&self, queues: &Queues, descriptors: &[[u8; DESCRIPTOR]]) -> Result<Vec<u8>> {
        let (registers, (submit, complete, interrupts)) = (&self.registers, queues.at);
        let next = |at: &Cell<u32>| {
            let now = at.get();
            at.set((now + DESCRIPTOR as u32) % (ENTRIES * DESCRIPTOR as u32));
            now
        };
        for descriptor in descriptors {
            queues.submission.write(next(&queues.tail) as usize, descriptor)?;
        }
        registers.write32(submit + 4, queues.tail.get())?;
        let mut status = vec![None; descriptors.len()];
        for _ in descriptors {
            let head = queues.head.get();
            wait_until(&self.vm, "an entry of the completion queue", || {
                Ok(registers.read32(complete + 4)? != head)
            })?;
            let at = next(&queues.head) as usize;
            let address = queues.completion.read_le64(at)? & !0x7f;
            let slot = self.commands.borrow().iter().position(|it| it.address().0 == address);
            let ocs = queues.completion.read_le32(at + 16)? as u8;
            let free = slot.and_then(|slot| status.get_mut(slot)).filter(|it| it.is_none());
            *free.ok_or_else(|| {
                Error::failed(format!("an entry for the command at {address:#x}, or a second one"))
            })? = Some(ocs);
        }
        if registers.read32(interrupts)? & 1 == 0 || registers.get(regs::IS)? & regs::CQES == 0 {
            return Err(Error::failed("requests are complete, and CQIS.TEPS or IS.CQES is clear"));
        }
        registers.write32(interrupts, 1)?;
        registers.set(regs::IS, regs::CQES)?;
        registers.write32(complete, queues.head.get())?;
        let pointers = (registers.read32(submit)?, registers.read32(complete + 4)?);
        if pointers != (queues.tail.get(), queues.head.get()) {
            return Err(Error::failed(format!(
                "the queues' own pointers are {pointers:x?}, not {:#x}, {:#x}",
                queues.tail.get(),
                queues.head.get()
            )));
        }
        Ok(status.into_iter().flatten().collect())
    }

    /// Makes a request and waits for it; the controller must have carried it out.
    ///
    /// # Errors
    /// Returns an error if it did not, or the answer is none to it.
    pub fn run(&self, request: Request, what: &str) -> Result<Done> {
        self.try_run(&request)?.carried_out(&request, what)
    }

    /// Makes a request and waits for it.
    ///
    /// # Errors
    /// Returns an error if it does not come back.
    pub fn try_run(&self, request: &Request) -> Result<Done> {
        let mut done = self.run_all(std::slice::from_ref(request))?;
        done.pop().ok_or_else(|| Error::failed("a request got lost"))
    }

    /// Makes a query without data that the device must not refuse.
    ///
    /// # Errors
    /// Returns an error if it does.
    pub fn query(&self, what: Query, which: (u8, u8), value: u32) -> Result<Done> {
        let done = self.try_query(what, which, value)?;
        match done.response() {
            upiu::response::SUCCESS => Ok(done),
            other => Err(Error::failed(format!("{what:?} {which:x?}: response {other:#x}"))),
        }
    }

    /// Makes a query without data.
    ///
    /// # Errors
    /// Returns an error if it does not come back.
    pub fn try_query(&self, what: Query, which: (u8, u8), value: u32) -> Result<Done> {
        self.run(Request::query(what, which, value, &[]), &format!("{what:?} {which:x?}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its memory is freed next. A QEMU that no longer answers writes to none.
        if let (Way::Queues(queues), true) = (&self.way, self.disables_queues.get()) {
            let _ = self.registers.write32(queues.base + queue::SQATTR, 0);
            let _ = self.registers.write32(queues.base + queue::CQATTR, 0);
        }
        let _ = self.registers.set(regs::HCE, 0);
    }
}

fn list(registers: &Bar, vm: &Vm) -> Result<Buffer> {
    let slots = (registers.get(regs::CAP)? & regs::CAP_NUTRS) + 1;
    let list = vm.ram().alloc(slots as usize * DESCRIPTOR, 1024)?;
    let address = list.address().0;
    registers.set(regs::UTRLBA, address as u32)?;
    registers.set(regs::UTRLBAU, (address >> 32) as u32)?;
    registers.set(regs::UTRLRSR, 1)?;
    Ok(list)
}

/// Sets up the first pair of queues (JESD223E, 7.1.2).
fn queues(registers: &Bar, vm: &Vm) -> Result<Queues> {
    if registers.get(regs::CAP)? & regs::CAP_MCQS == 0 {
        return Err(Error::skipped("this controller has no queues"));
    }
    registers.set(regs::CONFIG, 1)?;
    let base = u64::from(registers.get(regs::MCQCAP)? >> 16 & 0xff) * 0x200;
    let memory = || vm.ram().alloc(ENTRIES as usize * DESCRIPTOR, 1024);
    let (submission, completion) = (memory()?, memory()?);
    let size = ENTRIES * DESCRIPTOR as u32 / 4 - 1;
    for (attributes, low, memory) in
        [(queue::CQATTR, queue::CQLBA, &completion), (queue::SQATTR, queue::SQLBA, &submission)]
    {
        let address = memory.address().0;
        registers.write32(base + low, address as u32)?;
        registers.write32(base + low + 4, (address >> 32) as u32)?;
        registers.write32(base + attributes, queue::ENABLED | size)?;
    }
    let at = |offset| Ok::<_, Error>(u64::from(registers.read32(base + offset)?));
    let at = (at(queue::SQDAO)?, at(queue::CQDAO)?, at(queue::CQISAO)?);
    // Its interrupts are let through.
    registers.write32(at.2 + 4, 1)?;
    // QEMU leaves them where they were, also when the controller is disabled.
    let tail = Cell::new(registers.read32(at.0 + 4)?);
    let head = Cell::new(registers.read32(at.1 + 4)?);
    Ok(Queues { submission, completion, at, base, tail, head })
}
