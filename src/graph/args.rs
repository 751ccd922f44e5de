//! What an edge of the graph adds to QEMU's command line.

use crate::qemu::{Image, Socket};

/// The `-device` option of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOption {
    /// No `-device`: the other options make the machine create the device.
    None,
    /// `-device NODE,properties`, with the name of the node.
    Node(&'static str),
    /// `-device DEVICE,properties`, for a node that is not called like its device.
    Named(&'static str, &'static str),
}

/// What an edge adds to the command line: options before the device, the device and its
/// properties, options after it. Options are separated by blanks; `{NAME}` in them stands
/// for the file of the image NAME, or for the number of QEMU's end of the socket NAME.
#[derive(Debug, Clone, Copy)]
pub struct QemuArgs {
    /// Options before `-device`: back ends, buses.
    pub before: &'static str,
    /// The device itself.
    pub device: DeviceOption,
    /// Options after it: what is plugged into it.
    pub after: &'static str,
    /// Images that the options name.
    pub images: &'static [Image],
    /// Sockets that the options name.
    pub sockets: &'static [Socket],
    /// Nodes that are called by an alias that QEMU has for a device type: (node, type).
    /// QEMU's `-device` knows aliases; what tells which devices there are does not.
    pub aliases: &'static [(&'static str, &'static str)],
}

impl QemuArgs {
    /// Nothing at all.
    pub const NONE: Self = Self {
        before: "",
        device: DeviceOption::None,
        after: "",
        images: &[],
        sockets: &[],
        aliases: &[],
    };

    /// `-device NODE` without properties.
    pub const DEVICE: Self = Self::device("");

    /// `-device NODE,properties`.
    pub const fn device(properties: &'static str) -> Self {
        Self { device: DeviceOption::Node(properties), ..Self::NONE }
    }

    /// The same with options before the device.
    pub const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    /// The same with options after the device.
    pub const fn after(self, after: &'static str) -> Self {
        Self { after, ..self }
    }

    /// The same with images for the options to name.
    pub const fn images(self, images: &'static [Image]) -> Self {
        Self { images, ..self }
    }

    /// The same with sockets for the options to name.
    pub const fn sockets(self, sockets: &'static [Socket]) -> Self {
        Self { sockets, ..self }
    }

    /// The same with nodes that are called by an alias of their device type.
    pub const fn aliases(self, aliases: &'static [(&'static str, &'static str)]) -> Self {
        Self { aliases, ..self }
    }

    /// The QEMU device type that the edge to `node` needs, if it needs one.
    pub fn device_type(&self, node: &'static str) -> Option<&'static str> {
        let named = self.device_name(node)?;
        let alias = self.aliases.iter().find(|(alias, _)| *alias == named);
        Some(alias.map_or(named, |(_, device)| device))
    }

    /// The device as `-device` is told.
    fn device_name(&self, node: &'static str) -> Option<&'static str> {
        match self.device {
            DeviceOption::None => None,
            DeviceOption::Node(_) => Some(node),
            DeviceOption::Named(name, _) => Some(name),
        }
    }

    /// The options of the edge to `node`, in order, a word each.
    pub fn words(&self, node: &'static str) -> Vec<String> {
        let split = |options: &'static str| options.split_whitespace().map(str::to_owned);
        let mut words: Vec<String> = split(self.before).collect();
        let properties = match self.device {
            DeviceOption::None => "",
            DeviceOption::Node(properties) | DeviceOption::Named(_, properties) => properties,
        };
        if let Some(device) = self.device_name(node) {
            let comma = if properties.is_empty() { "" } else { "," };
            words.extend(["-device".to_owned(), format!("{device}{comma}{properties}")]);
        }
        words.extend(split(self.after));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch options in the wrong order, or a device without its properties.
    #[test]
    fn words_come_before_on_and_after_the_device() {
        let args = QemuArgs::device("addr=04.0,id=x").before("-a  b").after("-c d");
        assert_eq!(args.words("dev"), ["-a", "b", "-device", "dev,addr=04.0,id=x", "-c", "d"]);
        assert_eq!(QemuArgs::DEVICE.words("dev"), ["-device", "dev"]);
        assert_eq!(QemuArgs::NONE.after("-c d").words("dev"), ["-c", "d"]);
        let named = QemuArgs { device: DeviceOption::Named("other", "p=1"), ..QemuArgs::NONE };
        assert_eq!(named.words("dev"), ["-device", "other,p=1"]);
        assert_eq!(named.device_type("dev"), Some("other"));
        assert_eq!(QemuArgs::NONE.device_type("dev"), None);
    }

    /// Would catch a device that is thought to be missing because QEMU lists it by another
    /// name.
    #[test]
    fn an_alias_needs_the_type_it_stands_for() {
        let args = QemuArgs::DEVICE.aliases(&[("dev-a", "dev")]);
        assert_eq!(args.words("dev-a"), ["-device", "dev-a"]);
        assert_eq!(args.device_type("dev-a"), Some("dev"));
        assert_eq!(args.device_type("dev-b"), Some("dev-b"));
    }
}
