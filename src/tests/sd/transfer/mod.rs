//! Blocks between an SD card and guest memory in every mode of the controller: through the
//! Buffer Data Port, by SDMA and by ADMA2, with the registers that a transfer advances (SD Host
//! Controller Simplified Specification 3.00, "the specification").

mod adma2;
mod bench;
mod meanwhile;
mod port;
mod sdma;

use self::adma2::{adma2, adma2_errors, adma2_whole};
use self::meanwhile::{block_gap, bus_master, busy_registers, status_meanwhile};
use self::port::{open_ended, port_read, port_write};
use self::sdma::{sdma, sdma_boundary};
use crate::drivers::sd::sd_card::SdCard;
use crate::{attacks, tests};

tests!(SdCard, "sd-transfer-tests":
    port_read = "port-read",
    port_write = "port-write",
    open_ended = "open-ended",
    sdma,
    sdma_boundary = "sdma-boundary",
    adma2,
    adma2_whole = "adma2-64k",
    adma2_errors = "adma2-errors",
    block_gap = "block-gap",
    bus_master = "bus-master",
    busy_registers = "busy-registers",
    status_meanwhile = "status-meanwhile",
);
attacks!(SdCard, "sd-attacks": port_read = "port-read", sdma, sdma_boundary = "sdma-boundary", adma2);
