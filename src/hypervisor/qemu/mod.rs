//! QEMU: the first door.
