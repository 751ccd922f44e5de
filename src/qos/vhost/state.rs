//! What a vhost-user back end knows: what QEMU has told it, request by request, and what its
//! rings have brought.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Error, GpuBackend, Result, VhostUserBackendReqHandlerMut, VhostUserProtocolFeatures as Protocol,
};

use super::device::Device;
use super::memory::{Memory, Region};
use super::ring::{Ring, Rules};
use crate::qos::virtio::{RingAddresses, features};

/// Feature: writes to guest memory are logged, for a migration.
pub const F_LOG_ALL: u64 = 1 << 26;
/// Feature: there are features of the protocol. No driver ever sees it.
pub const F_PROTOCOL: u64 = 1 << 30;
/// What every back end offers besides the features of its device.
const RINGS: u64 = features::NOTIFY_ON_EMPTY
    | features::ANY_LAYOUT
    | features::INDIRECT_DESC
    | features::EVENT_IDX
    | features::VERSION_1
    | F_LOG_ALL
    | F_PROTOCOL;
/// The most requests of the driver that are kept.
const KEPT: usize = 256;
/// The longest of them that is kept whole, in bytes.
const LONGEST_KEPT: usize = 65_536;
/// How many times the size of a ring are taken for one kick: where rings lie over each other,
/// an answer is a request.
const MOST_AT_ONCE: u32 = 4;
/// How many regions of memory a back end takes one by one.
const SLOTS: u64 = 32;

/// A request that the driver made of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The queue that it came through.
    pub queue: u16,
    /// What the driver wrote.
    pub data: Vec<u8>,
    /// How many bytes it had room for.
    pub room: usize,
}

/// What a back end knows of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The number of descriptors.
    pub size: u32,
    /// Where it is, as guest-physical addresses; `None` if that is in no region.
    pub at: Option<RingAddresses>,
    /// Where the log has the used ring, if writes to that are logged.
    pub log: Option<u64>,
    /// The index with which it began, if QEMU has told.
    pub base: Option<u32>,
    /// Whether it is enabled.
    pub is_enabled: bool,
    /// Whether QEMU has given the file to kick.
    pub has_kick: bool,
    /// Whether it has given the file to call.
    pub has_call: bool,
    /// How often it was kicked.
    pub kicks: u64,
    /// How often the driver was called.
    pub calls: u64,
    /// How many requests were given back.
    pub done: u64,
    /// Why nothing more is taken, if it breaks the rules.
    pub broken: Option<String>,
}

/// All that a back end knows.
pub struct State {
    /// The device.
    pub(super) device: Box<dyn Device>,
    /// Which features it hides for a while.
    pub(super) hidden: u64,
    /// Whether the first connection is closed at once.
    pub(super) refuses_first: bool,
    pub(super) accepted: Option<u64>,
    pub(super) protocol: Option<u64>,
    pub(super) owners: u64,
    pub(super) memory: Memory,
    pub(super) rings: Vec<Ring>,
    /// What QEMU has asked, in order.
    pub(super) asked: Vec<&'static str>,
    pub(super) requests: VecDeque<Request>,
    /// Where QEMU listens.
    pub(super) channel: Option<UnixStream>,
    /// What QEMU did wrong.
    pub(super) faults: Vec<String>,
    /// How often QEMU has connected.
    pub(super) connections: u64,
    pub(super) is_connected: bool,
    /// The connection.
    pub(super) stream: Option<UnixStream>,
}

impl State {
    pub fn new(device: Box<dyn Device>) -> Self {
        let rings = (0..device.queues()).map(|_| Ring::default()).collect();
        Self {
            device,
            hidden: 0,
            refuses_first: false,
            accepted: None,
            protocol: None,
            owners: 0,
            memory: Memory::default(),
            rings,
            asked: Vec::new(),
            requests: VecDeque::new(),
            channel: None,
            faults: Vec::new(),
            connections: 0,
            is_connected: false,
            stream: None,
        }
    }

    /// Forgets what the connection before has brought.
    pub fn connected(&mut self, stream: Option<UnixStream>) {
        self.stream = stream;
        self.rings.iter_mut().for_each(|ring| *ring = Ring::default());
        (self.accepted, self.protocol, self.channel) = (None, None, None);
        (self.memory, self.owners) = (Memory::default(), 0);
        self.asked.clear();
        self.connections += 1;
        self.is_connected = true;
    }

    /// The rings to be served, and their files to wait for.
    pub fn kicks(&self) -> Vec<(usize, Arc<File>)> {
        let live = self.rings.iter().enumerate().filter(|(_, ring)| ring.is_live());
        live.filter_map(|(queue, ring)| Some((queue, ring.kick.clone()?))).collect()
    }

    /// Closes the connection.
    pub fn hang_up(&mut self) {
        if let Some(stream) = self.stream.take() {
            // One that QEMU has closed is closed all the same.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// The features that are offered.
    pub fn offered(&self) -> u64 {
        let log = if self.device.logs() { 0 } else { F_LOG_ALL };
        (self.device.features() | RINGS) & !(log | self.hidden)
    }

    fn rules(&self) -> Rules {
        let accepted = self.accepted.unwrap_or_default();
        Rules { accepted, is_logged: accepted & F_LOG_ALL != 0 }
    }

    /// Does what is in a ring that was kicked.
    pub fn run(&mut self, queue: usize) {
        if self.device.waits(queue as u16) {
            return;
        }
        let mut given = 0;
        let done = self.answer_all(queue, &mut given);
        let rules = self.rules();
        let ring = &mut self.rings[queue];
        let told = if given > 0 { ring.notify(&self.memory, rules, given) } else { Ok(()) };
        ring.broken = done.and(told).err();
    }

    /// Answers all requests of a queue, and counts them.
    fn answer_all(&mut self, queue: usize, given: &mut u16) -> std::result::Result<(), String> {
        let rules = self.rules();
        let ring = &mut self.rings[queue];
        while let Some(chain) = ring.take(&self.memory, rules)? {
            let (queue, room) = (queue as u16, chain.room());
            let answer = self.device.answer(queue, &chain.readable, room, ring.order(rules));
            ring.give(&self.memory, rules, &chain, &answer)?;
            *given += 1;
            if u32::from(*given) > MOST_AT_ONCE * ring.size {
                return Err("requests without end".to_owned());
            }
            let mut data = chain.readable;
            data.truncate(LONGEST_KEPT);
            self.requests.push_back(Request { queue, data, room });
            if self.requests.len() > KEPT {
                self.requests.pop_front();
            }
        }
        Ok(())
    }

    /// Gives the next request of a queue back with `answer`; whether there was one.
    pub fn fill(&mut self, queue: usize, answer: &[u8]) -> std::result::Result<bool, String> {
        let rules = self.rules();
        let ring = &mut self.rings[queue];
        if !ring.is_live() {
            return Ok(false);
        }
        let Some(chain) = ring.take(&self.memory, rules)? else { return Ok(false) };
        ring.give(&self.memory, rules, &chain, &answer.to_vec().into())?;
        ring.notify(&self.memory, rules, 1)?;
        Ok(true)
    }

    /// What is known of a ring.
    pub fn seen(&self, queue: usize) -> Option<Seen> {
        let ring = self.rings.get(queue)?;
        Some(Seen {
            size: ring.size,
            at: ring.addresses(&self.memory).ok(),
            log: ring.log,
            base: ring.base,
            is_enabled: ring.is_enabled,
            has_kick: ring.kick.is_some(),
            has_call: ring.call.is_some(),
            kicks: ring.kicks,
            calls: ring.calls,
            done: ring.done,
            broken: ring.broken.clone(),
        })
    }

    /// Tells QEMU that the configuration has changed.
    pub fn tell_config_changed(&mut self) -> std::io::Result<()> {
        // Request 2, version 1, no payload.
        let message = [2_u32, 1, 0].map(u32::to_ne_bytes).concat();
        match &mut self.channel {
            Some(channel) => channel.write_all(&message),
            None => Err(std::io::Error::other("QEMU has given no channel for it")),
        }
    }

    fn fault<T>(&mut self, what: String) -> Result<T> {
        self.faults.push(what);
        Err(Error::InvalidParam)
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        let count = self.rings.len();
        if index as usize >= count {
            return self.fault(format!("ring {index} of {count}"));
        }
        Ok(&mut self.rings[index as usize])
    }
}

impl VhostUserBackendReqHandlerMut for State {
    fn set_owner(&mut self) -> Result<()> {
        self.asked.push("SET_OWNER");
        self.owners += 1;
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.asked.push("RESET_OWNER");
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.asked.push("RESET_DEVICE");
        self.rings.iter_mut().for_each(|ring| *ring = Ring::default());
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        self.asked.push("GET_FEATURES");
        Ok(self.offered())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        self.asked.push("SET_FEATURES");
        let offered = self.offered();
        if features & !offered != 0 {
            return self.fault(format!("features {features:#x} of {offered:#x}"));
        }
        self.accepted = Some(features);
        // Without features of the protocol rings are enabled from the first (SET_VRING_ENABLE).
        if features & F_PROTOCOL == 0 {
            self.rings.iter_mut().for_each(|ring| ring.is_enabled = true);
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        self.asked.push("SET_MEM_TABLE");
        self.memory = std::mem::take(&mut self.memory).with_same_log();
        for (region, file) in regions.iter().zip(files) {
            if let Err(why) = self.memory.add(Region::of(region), file) {
                return self.fault(why);
            }
        }
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        self.asked.push("SET_VRING_NUM");
        if !num.is_power_of_two() || num > 32_768 {
            return self.fault(format!("a ring of {num} descriptors"));
        }
        self.ring(index)?.size = num;
        Ok(())
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        log: u64,
    ) -> Result<()> {
        self.asked.push("SET_VRING_ADDR");
        let is_logged = flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG);
        let ring = self.ring(index)?;
        ring.user =
            Some(RingAddresses { descriptors: descriptor, driver: available, device: used });
        ring.log = is_logged.then_some(log);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.asked.push("SET_VRING_BASE");
        self.ring(index)?.set_base(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        self.asked.push("GET_VRING_BASE");
        let next = self.ring(index)?.stop();
        Ok(VhostUserVringState::new(index, next.into()))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.asked.push("SET_VRING_KICK");
        self.ring(index.into())?.kick = fd.map(Arc::new);
        Ok(())
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.asked.push("SET_VRING_CALL");
        self.ring(index.into())?.call = fd;
        Ok(())
    }

    fn set_vring_err(&mut self, index: u8, _: Option<File>) -> Result<()> {
        self.asked.push("SET_VRING_ERR");
        self.ring(index.into()).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<Protocol> {
        self.asked.push("GET_PROTOCOL_FEATURES");
        Ok(self.offered_protocol())
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        self.asked.push("SET_PROTOCOL_FEATURES");
        let offered = (self.offered_protocol() | Protocol::REPLY_ACK).bits();
        if features & !offered != 0 {
            return self.fault(format!("protocol features {features:#x} of {offered:#x}"));
        }
        self.protocol = Some(features);
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        self.asked.push("GET_QUEUE_NUM");
        Ok(self.device.queues().into())
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.asked.push("SET_VRING_ENABLE");
        self.ring(index)?.is_enabled = enable;
        Ok(())
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        self.asked.push("GET_CONFIG");
        let config = self.device.config();
        let at = |index: u32| config.get(index as usize).copied().unwrap_or(0);
        Ok((0..size).map(|index| at(offset.saturating_add(index))).collect())
    }

    fn set_config(&mut self, offset: u32, data: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        self.asked.push("SET_CONFIG");
        self.device.set_config(offset as usize, data);
        Ok(())
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        self.fault("a GPU's socket".to_owned())
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        self.fault("a shared object".to_owned())
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        self.fault("memory for requests in flight".to_owned())
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        self.fault("memory for requests in flight".to_owned())
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        self.asked.push("GET_MAX_MEM_SLOTS");
        Ok(SLOTS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        fd: File,
        _: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        self.asked.push("ADD_MEM_REG");
        match self.memory.add(Region::of(region), fd) {
            Ok(()) => Ok(None),
            Err(why) => self.fault(why),
        }
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.asked.push("REM_MEM_REG");
        match self.memory.remove(region.guest_phys_addr) {
            Ok(()) => Ok(()),
            Err(why) => self.fault(why),
        }
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        self.fault("a device's state".to_owned())
    }

    fn check_device_state(&mut self) -> Result<()> {
        self.fault("a device's state".to_owned())
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        self.fault("shared memory of the device".to_owned())
    }

    fn set_log_base(&mut self, log: &VhostUserLog, file: File) -> Result<()> {
        self.asked.push("SET_LOG_BASE");
        match self.memory.set_log(log.mmap_offset, log.mmap_size, file) {
            Ok(()) => Ok(()),
            Err(why) => self.fault(why),
        }
    }
}

impl State {
    /// The features of the protocol that are offered.
    pub fn offered_protocol(&self) -> Protocol {
        let mut protocol = Protocol::MQ
            | Protocol::LOG_SHMFD
            | Protocol::BACKEND_REQ
            | Protocol::CROSS_ENDIAN
            | self.device.protocol();
        protocol.set(Protocol::CONFIG, !self.device.config().is_empty());
        protocol
    }
}
