//! The doors to VMware and Hyper-V, of which there is none here: what their templates render to is read by parsers of others,
//! and what a stranger's template can't do.
#![allow(missing_docs)]
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod bench;
mod hyperv_hostile;
mod libvirt;
mod powershell;
mod vmware_hostile;
