//! Whether a way to this PC's sound leads anywhere.

use super::env;

/// Whether `way` (QEMU's name for it) can be used. A sound server that is not there would be started by the first who asks,
/// which a hypervisor that may not start programs does not survive.
#[must_use]
pub fn is_there(way: &str) -> bool {
    let socket = match way {
        "pa" => "pulse/native",
        "pipewire" => "pipewire-0",
        _ => return true,
    };
    env::path("XDG_RUNTIME_DIR").is_some_and(|runtime| runtime.join(socket).exists())
}
