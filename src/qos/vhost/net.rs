//! A network device (5.1) behind a vhost-user back end: what the driver sends is kept as requests,
//! and what it is to receive a test fills in.

use super::device::SimpleDevice;
use crate::qos::virtio::net;

/// How many queues a pair of them is.
const PAIR: u16 = 2;

impl SimpleDevice {
    /// A network device of `pairs` pairs of queues, at the most two.
    pub const fn net(pairs: u16) -> Self {
        Self {
            features: net::F_MRG_RXBUF
                | net::F_GUEST_ANNOUNCE
                | if pairs > 1 { net::F_MQ } else { 0 },
            logs: true,
            waits: &[0, 2],
            answer: |_, _, _| Vec::new(),
            ..Self::inverting(PAIR * pairs)
        }
    }
}
