//! An SD host controller as a card needs it.

use std::cell::Cell;
use std::rc::Rc;

use super::sdhci::{self, Sdhci};
use super::{BLOCK, Card, Response, SdHost};
use crate::qemu::Vm;
use crate::qos::registers::RegistersExt;
use crate::qos::wait_until;
use crate::{Error, Result};

/// An SD host controller with a card.
pub struct SdhciHost {
    sdhci: Rc<dyn Sdhci>,
    vm: Rc<Vm>,
    /// What [`Card`] knows from one command to the next.
    at_rest: Cell<Option<u32>>,
}

impl SdhciHost {
    /// The controller in `vm`.
    pub fn of(vm: &Rc<Vm>, sdhci: impl Sdhci + 'static) -> Rc<Self> {
        Self::shared(vm, Rc::new(sdhci))
    }

    /// The same of one that others have as well.
    pub fn shared(vm: &Rc<Vm>, sdhci: Rc<dyn Sdhci>) -> Rc<Self> {
        Rc::new(Self { sdhci, vm: vm.clone(), at_rest: Cell::new(None) })
    }

    fn with<T>(&self, act: impl FnOnce(&Card) -> Result<T>) -> Result<T> {
        let card = Card::new(&*self.sdhci, &self.vm);
        card.at_rest.set(self.at_rest.get());
        let result = act(&card);
        self.at_rest.set(card.at_rest.get());
        result
    }
}

impl SdHost for SdhciHost {
    fn power_up(&self) -> Result<()> {
        self.with(|card| card.make_ready())
    }

    fn command(&self, index: u8, argument: u32, response: Response) -> Result<[u32; 4]> {
        self.with(|card| card.command(index, argument, response))
    }

    /// Command Complete may be set beside the timeout, and means nothing then (Host Controller
    /// 2.2.18, table 2-22).
    fn unanswered(&self, index: u8, argument: u32) -> Result<()> {
        self.with(|card| {
            card.start_command(index, argument, Response::R1)?;
            let expected = sdhci::COMMAND_COMPLETE | sdhci::ERROR_INTERRUPT;
            let what = "the end of a command that nobody answers";
            let status = card.wait_status(expected, what)?;
            let normal = status.normal & !sdhci::COMMAND_COMPLETE;
            if (normal, status.error) != (sdhci::ERROR_INTERRUPT, sdhci::COMMAND_TIMEOUT) {
                return Err(Error::failed(format!("nobody answered CMD{index}: {status:#06x?}")));
            }
            let registers = self.sdhci.registers();
            registers.set(sdhci::ERROR_INTERRUPT_STATUS, status.error)?;
            registers.set(sdhci::NORMAL_INTERRUPT_STATUS, !0)?;
            registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_CMD)?;
            wait_until(&self.vm, "the reset of the command line", || {
                Ok(registers.get(sdhci::SOFTWARE_RESET)? == 0)
            })?;
            let left = card.interrupt_status()?;
            if (left.normal, left.error) != (0, 0) {
                return Err(Error::failed(format!("{left:#06x?} is left, cleared")));
            }
            Ok(())
        })
    }

    fn read(&self, argument: u32, into: &mut [u8; BLOCK]) -> Result<()> {
        *into = self.with(|card| card.read_at(argument))?;
        Ok(())
    }

    fn write(&self, argument: u32, data: &[u8; BLOCK]) -> Result<()> {
        self.with(|card| card.write_at(argument, data))
    }

    fn sdhci(&self) -> Option<(&dyn Sdhci, Card<'_>)> {
        Some((&*self.sdhci, Card::new(&*self.sdhci, &self.vm)))
    }
}
