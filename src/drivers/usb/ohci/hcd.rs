//! What an open host controller does, wherever its registers are.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::schedule::Schedule;
use super::*;
use crate::qemu::{Buffer, Vm};
use crate::qos::registers::{Registers, RegistersExt};
use crate::qos::usb::{Completion, Port, Speed, Ticket};
use crate::qos::wait_until;
use crate::{Error, Result};

/// A controller, wherever it is.
pub(super) struct Hcd {
    pub vm: Rc<Vm>,
    pub bus: String,
    pub registers: RefCell<Rc<dyn Registers>>,
    schedule: RefCell<Option<Schedule>>,
    /// What was taken out of the lists without a wait: a stream of packets must not stop for it.
    left: RefCell<Vec<Buffer>>,
}

impl Hcd {
    pub fn new(vm: &Rc<Vm>, bus: String, registers: Rc<dyn Registers>) -> Self {
        let (schedule, left) = (RefCell::default(), RefCell::default());
        Self { vm: vm.clone(), bus, registers: RefCell::new(registers), schedule, left }
    }

    pub fn registers(&self) -> Rc<dyn Registers> {
        self.registers.borrow().clone()
    }

    pub fn with<T>(&self, what: impl FnOnce(&mut Schedule) -> Result<T>) -> Result<T> {
        match self.schedule.borrow_mut().as_mut() {
            Some(schedule) => what(schedule),
            None => Err(Error::failed("the controller was not started")),
        }
    }

    pub fn ports(&self) -> Result<usize> {
        Ok((self.registers().get(DESCRIPTOR_A)? & 0xff) as usize)
    }

    pub fn start(&self) -> Result<()> {
        let registers = self.registers();
        registers.set(CONTROL, 0)?;
        registers.set(COMMAND, COMMAND_RESET)?;
        wait_until(&self.vm, "the reset of the controller", || {
            Ok(registers.get(COMMAND)? & COMMAND_RESET == 0)
        })?;
        let schedule = Schedule::new(&self.vm)?;
        let [control, bulk] = schedule.heads();
        registers.set(INTERRUPT_DISABLE, u32::MAX)?;
        registers.set(HCCA, schedule.area() as u32)?;
        registers.set(CONTROL_HEAD, control as u32)?;
        registers.set(BULK_HEAD, bulk as u32)?;
        registers.set(FRAME_INTERVAL, 0x2778_2edf)?;
        registers.set(PERIODIC_START, 0x2a2f)?;
        *self.schedule.borrow_mut() = Some(schedule);
        self.set_running(true)?;
        registers.set(HUB_STATUS, HUB_POWER)?;
        registers.set(INTERRUPT_STATUS, u32::MAX)
    }

    pub fn is_halted(&self) -> Result<bool> {
        Ok(self.registers().get(CONTROL)? & CONTROL_STATE != CONTROL_OPERATIONAL)
    }

    pub fn set_running(&self, is_on: bool) -> Result<()> {
        let state = if is_on { CONTROL_LISTS | CONTROL_OPERATIONAL } else { CONTROL_SUSPENDED };
        self.registers().set(CONTROL, state)?;
        match self.registers().get(CONTROL)? {
            now if now == state => {}
            now => return Err(Error::failed(format!("{CONTROL} is {now:#x}, not {state:#x}"))),
        }
        self.tell_lists()
    }

    /// Tells the controller that its lists may have something.
    fn tell_lists(&self) -> Result<()> {
        self.registers().set(COMMAND, COMMAND_LISTS)
    }

    fn status(&self, port: usize) -> Result<u32> {
        self.registers().get(PORT.nth(port as u64, 4))
    }

    pub fn port(&self, port: usize) -> Result<Port> {
        let status = self.status(port)?;
        Ok(Port {
            connected: status & PORT_CONNECTED != 0,
            enabled: status & PORT_ENABLED != 0,
            changed: status & PORT_CONNECT_CHANGED != 0,
        })
    }

    pub fn speed(&self, port: usize) -> Result<Speed> {
        let is_low = self.status(port)? & PORT_LOW_SPEED != 0;
        Ok(if is_low { Speed::Low } else { Speed::Full })
    }

    pub fn acknowledge_port(&self, port: usize) -> Result<()> {
        let registers = self.registers();
        registers.set(PORT.nth(port as u64, 4), PORT_CHANGES)?;
        registers.set(INTERRUPT_STATUS, INTERRUPT_HUB)
    }

    pub fn reset_port(&self, port: usize) -> Result<()> {
        let at = PORT.nth(port as u64, 4);
        let registers = self.registers();
        if self.status(port)? & PORT_CONNECTED != 0 {
            registers.set(at, PORT_RESET)?;
            wait_until(&self.vm, "the reset of the port", || {
                Ok(registers.get(at)? & (PORT_RESET | PORT_RESET_CHANGED) == PORT_RESET_CHANGED)
            })?;
        }
        self.acknowledge_port(port)
    }

    pub fn submit(&self, request: &crate::qos::usb::Request) -> Result<Ticket> {
        let ticket = self.with(|schedule| schedule.submit(request))?;
        self.tell_lists()?;
        Ok(ticket)
    }

    pub fn completion(&self, ticket: Ticket) -> Result<Option<Completion>> {
        self.works()?;
        match self.with(|schedule| schedule.completion(ticket))? {
            None => Ok(None),
            Some((completion, memory)) => {
                self.passed()?;
                drop(memory);
                Ok(Some(completion))
            }
        }
    }

    /// What became of packets. Their frames are over, but the controller may be at their endpoint.
    pub fn packets(&self, ticket: Ticket) -> Result<Option<Vec<Completion>>> {
        self.works()?;
        let ended = self.with(|schedule| schedule.packets(ticket))?;
        Ok(ended.map(|(completions, memory)| {
            self.left.borrow_mut().push(memory);
            completions
        }))
    }

    fn works(&self) -> Result<()> {
        match self.registers().get(INTERRUPT_STATUS)? {
            status if status & INTERRUPT_ERROR != 0 => Err(Error::failed(format!(
                "{INTERRUPT_STATUS} is {status:#x}: the controller fails"
            ))),
            _ => Ok(()),
        }
    }

    pub fn cancel(&self, ticket: Ticket) -> Result<()> {
        let memory = self.with(|schedule| schedule.remove(ticket))?;
        self.passed()?;
        drop(memory);
        Ok(())
    }

    /// Waits until the controller has left what was taken out of its lists (5.2.7.1.3).
    fn passed(&self) -> Result<()> {
        if !self.is_halted()? {
            self.vm.qtest().clock_step(Some(Duration::from_millis(2)))?;
        }
        self.left.borrow_mut().clear();
        Ok(())
    }
}
