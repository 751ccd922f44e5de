//! Requests to one running QEMU: ports one by one and in batches, blocks of guest memory.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use qgraph::protocol::Qtest;
use qgraph::qemu::{Limits, Vm};
use vm_memory::GuestAddress;

use crate::measure::{seconds, times_the_first};
use crate::table::Table;
use crate::{Bench, Result};

/// `CONFIG_ADDRESS` of PCI (Local Bus Specification 3.0, section 3.2.2.3.2): 32 bits wide, on
/// every PC, and reading it changes nothing.
const PORT: u16 = 0xcf8;

/// Reads a round does.
const READS: usize = 1000;

/// What is read of guest memory at a time.
const MEBIBYTE: usize = 1 << 20;

/// How often mapped memory is read a round; once is too short for the clock.
const MAPPED_READS: u32 = 20;

fn launch(bench: &Bench) -> Result<Vm> {
    let trial = bench.on_a_pc()?;
    Ok(Vm::launch(&trial.emulator, trial.config(), Limits::default())?)
}

/// `inl` one by one against batches, and against a loop that does nothing but write and read.
pub fn ports(bench: &Bench, table: &mut Table) -> Result {
    let vm = launch(bench)?;
    let qtest = vm.qtest();
    let mut socket = qtest.socket()?;
    let timeout = socket.read_timeout()?;
    let ratios = times_the_first(&mut [
        &mut || seconds(|| one_by_one(qtest)),
        &mut || {
            socket.set_read_timeout(None)?;
            let took = seconds(|| bare(&mut socket))?;
            socket.set_read_timeout(timeout)?;
            Ok(took)
        },
        &mut || seconds(|| batched(qtest)),
    ])?;
    table.at_least("inl, rate one by one / rate of a bare loop", 1.0 / ratios[0], 0.9);
    table.at_least("inl, rate in a batch / rate one by one", ratios[1], 5.0);
    Ok(())
}

fn one_by_one(qtest: &Qtest) -> Result {
    for _ in 0..READS {
        qtest.inl(PORT)?;
    }
    Ok(())
}

fn batched(qtest: &Qtest) -> Result {
    let mut batch = qtest.batch();
    let slots: Vec<_> = (0..READS).map(|_| batch.inl(PORT)).collect();
    let answers = batch.send()?;
    for slot in slots {
        std::hint::black_box(answers.get(slot));
    }
    Ok(())
}

/// What the kernel and QEMU cost: a request is written, and read until the line ends.
fn bare(socket: &mut UnixStream) -> Result {
    let request = format!("inl {PORT:#x}\n");
    let mut answer = [0; 256];
    for _ in 0..READS {
        socket.write_all(request.as_bytes())?;
        let mut length = 0;
        while !answer[..length].ends_with(b"\n") {
            match socket.read(&mut answer[length..])? {
                0 => return Err("QEMU closed the socket".into()),
                count => length += count,
            }
        }
        if !answer.starts_with(b"OK ") {
            return Err(String::from_utf8_lossy(&answer[..length]).into());
        }
    }
    Ok(())
}

/// 1 MiB of guest memory: in hexadecimal, in base64, mapped.
pub fn memory(bench: &Bench, table: &mut Table) -> Result {
    let vm = launch(bench)?;
    if !vm.ram().is_mapped() {
        return Err("the machine's RAM is not mapped".into());
    }
    let qtest = vm.qtest();
    let address = GuestAddress(vm.ram().spec().base + vm.ram().spec().usable.0);
    let pattern: Vec<u8> = (0..MEBIBYTE).map(|i| (i ^ (i >> 8)) as u8).collect();
    vm.ram().write(address, &pattern)?;
    let mut data = [(); 3].map(|()| vec![0; MEBIBYTE]);
    let [hex, base64, mapped] = &mut data;
    let ratios = times_the_first(&mut [
        &mut || seconds(|| Ok(qtest.read(address, hex)?)),
        &mut || seconds(|| Ok(qtest.b64read(address, base64)?)),
        &mut || {
            let mut reads = || (0..MAPPED_READS).try_for_each(|_| vm.ram().read(address, mapped));
            Ok(seconds(|| Ok(reads()?))? / f64::from(MAPPED_READS))
        },
    ])?;
    if data.iter().any(|data| *data != pattern) {
        return Err("the ways of reading memory do not read the same".into());
    }
    table.at_least("1 MiB of guest memory, speed of b64read / of read", ratios[0], 8.0);
    table.at_least("1 MiB of guest memory, speed mapped / of read", ratios[1], 500.0);
    Ok(())
}
