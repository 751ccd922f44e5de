//! What a vhost-user back end is a device of: its features, its configuration, its answers.

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;

use crate::protocol::Endian;

/// The answer to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many bytes of the room are left as they are, at its start.
    pub skip: usize,
    /// What is written behind those.
    pub data: Vec<u8>,
}

impl From<Vec<u8>> for Answer {
    fn from(data: Vec<u8>) -> Self {
        Self { skip: 0, data }
    }
}

/// A device behind a back end.
pub trait Device: Send + 'static {
    /// The features of its kind. Those of rings are the back end's.
    fn features(&self) -> u64 {
        0
    }

    /// The features of the protocol that it offers besides those of every back end.
    fn protocol(&self) -> Protocol {
        Protocol::empty()
    }

    /// Whether it offers to log what it writes, so that it can be migrated.
    fn logs(&self) -> bool {
        true
    }

    /// How many queues it has.
    fn queues(&self) -> u16;

    /// Its configuration.
    fn config(&self) -> &[u8] {
        &[]
    }

    /// Takes what the driver writes to the configuration.
    fn set_config(&mut self, _offset: usize, _data: &[u8]) {}

    /// Whether requests of a queue wait until a test [fills](super::VhostUser::fill) them.
    fn waits(&self, _queue: u16) -> bool {
        false
    }

    /// The answer to a request that has `room` for so many bytes, in the byte order of what was
    /// negotiated.
    fn answer(&mut self, queue: u16, request: &[u8], room: usize, order: Endian) -> Answer;
}

/// A device without state: what it offers, and a function that answers.
#[derive(Debug, Clone, Copy)]
pub struct SimpleDevice {
    /// The features of its kind.
    pub features: u64,
    /// Further features of the protocol.
    pub protocol: Protocol,
    /// Whether it offers to log what it writes.
    pub logs: bool,
    /// How many queues it has.
    pub queues: u16,
    /// Its configuration.
    pub config: &'static [u8],
    /// Which queues wait for tests.
    pub waits: &'static [u16],
    /// Answers a request of a queue for which there is so much room.
    pub answer: fn(u16, &[u8], usize) -> Vec<u8>,
}

impl Device for SimpleDevice {
    fn features(&self) -> u64 {
        self.features
    }

    fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn logs(&self) -> bool {
        self.logs
    }

    fn queues(&self) -> u16 {
        self.queues
    }

    fn config(&self) -> &[u8] {
        self.config
    }

    fn waits(&self, queue: u16) -> bool {
        self.waits.contains(&queue)
    }

    fn answer(&mut self, queue: u16, request: &[u8], room: usize, _: Endian) -> Answer {
        (self.answer)(queue, request, room).into()
    }
}
