//! The bytes on the two sockets: the qtest protocol and QMP.
