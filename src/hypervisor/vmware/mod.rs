//! VMware Workstation, Player and Fusion: a configuration file of their own kind, and their command line `vmrun`.
//!
//! Written from documentation and from logs and configurations that people published, and checked by libvirt's parser and
//! ours: there was no VMware to try it with.
//!
//! VMware needs to be told of no machine beforehand, and forgets one by itself. It has no channel that tells what happens:
//! that is read in the machine's log, `log`. A guest shuts down on request only if VMware Tools run in it. It can't start a
//! machine paused: between its start and our knowing its process there is a gap, in which the record names the launcher.
//! A sound card would let the guest listen, which no setting prevents: so there is none.

use std::path::Path;

use crate::hypervisor::{
    Candidate, Capabilities, Devices, DiskFormat, Door, Ending, Hypervisor, Machine, Offered, Places,
    Rendered, RenderedFile, Running, Started, Template, Verdicts,
};
use crate::{Error, Kind, Result};

mod allowed;
mod detect;
mod dictionary;
mod launch;
mod log;
mod record;
mod rules;
mod running;
mod template;
mod vmrun;

use vmrun::Vmrun;

/// The key in the manifest.
const NAME: &str = "vmware";

/// What is known of VMware without having one.
pub(crate) const DOOR: VMwares = VMwares;

/// The built-in template.
pub const TEMPLATE: &str = include_str!("../../../templates/vmware.vmx.hbs");

/// In scratch: the machine's configuration.
const CONFIGURATION: &str = "machine.vmx";

/// The accelerator that uses the processor's virtualisation: VMware has no other.
const HARDWARE: &str = "hardware";

/// The program that runs one machine.
const MACHINE_PROGRAM: &str = "vmware-vmx";

/// Which VMware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edition {
    Workstation,
    Player,
    Fusion,
}

impl Edition {
    const ALL: [Edition; 3] = [Edition::Workstation, Edition::Player, Edition::Fusion];

    /// By the name of the product, or by where its `vmrun` is.
    fn of(product: Option<&str>, program: &Path) -> Edition {
        let place = program.to_string_lossy();
        let is = |word: &str| product.map_or_else(|| place.contains(word), |name| name.contains(word));
        match () {
            () if is("Fusion") => Edition::Fusion,
            () if is("Player") => Edition::Player,
            () => Edition::Workstation,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Edition::Workstation => "Workstation",
            Edition::Player => "Player",
            Edition::Fusion => "Fusion",
        }
    }

    /// What `vmrun -T` calls it.
    fn kind(self) -> &'static str {
        match self {
            Edition::Workstation => "ws",
            Edition::Player => "player",
            Edition::Fusion => "fusion",
        }
    }
}

/// Every VMware.
pub(crate) struct VMwares;

impl Door for VMwares {
    fn name(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> &'static str {
        "VMware"
    }

    fn hardware(&self) -> Offered {
        template::HARDWARE
    }

    fn template(&self) -> Template {
        Template { name: "vmware.vmx.hbs", text: TEMPLATE }
    }

    fn detect(&self, _: &Places, _: &mut Verdicts, say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
        detect::detect(say)
    }

    fn open(&self, candidate: Candidate) -> Result<Box<dyn Hypervisor>> {
        Ok(Box::new(VMware::new(candidate)))
    }

    fn adopt(&self, scratch: &Path) -> Result<Option<Running>> {
        launch::adopt(scratch)
    }

    fn runs(&self, scratch: &Path, _: &Started) -> Result<bool> {
        launch::runs(scratch)
    }

    fn ending(&self, scratch: &Path) -> Result<Option<Ending>> {
        launch::ending(scratch)
    }

    /// `vmrun` registers nothing. What VMware's own window remembers of recent machines is its user's to clear.
    fn forget(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// The door to one VMware.
pub struct VMware {
    candidate: Candidate,
    edition: Edition,
}

impl VMware {
    /// The door to `candidate`.
    #[must_use]
    pub fn new(candidate: Candidate) -> VMware {
        let named = Edition::ALL.into_iter().find(|edition| candidate.edition == Some(edition.title()));
        let edition = named.unwrap_or_else(|| Edition::of(None, &candidate.program));
        VMware { candidate, edition }
    }
}

impl Hypervisor for VMware {
    fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            overlay: DiskFormat::Vmdk,
            reads_drive: false,
            hardware: template::HARDWARE,
            firmware: &["bios", "uefi"],
            most_disks: template::MOST_AHCI,
            // There is nothing to open again: it works on copies.
            reopen_base: true,
            pause: true,
            adopt: true,
            discard: false,
            window: true,
            headless: true,
            encryption: false,
            needs_administrator: false,
            release_keys: Some(template::release_keys()),
            devices: Devices {
                network: true,
                // It would listen.
                sound: false,
                // With VMware Tools in the guest, as the shared folder.
                clipboard: true,
                usb: true,
                display: true,
                share: true,
                // It keeps variables in a format of its own, and a TPM only in a machine that it has encrypted.
                variables: false,
                tpm: false,
            },
        }
    }

    fn render(&self, machine: &Machine, template: &str) -> Result<Rendered> {
        let entries = template::render(machine, template)?;
        allowed::check(&entries, machine)?;
        let configuration = machine.scratch.join(CONFIGURATION);
        crate::hypervisor::rendering::text(&configuration)?;
        let mode = if machine.headless { "nogui" } else { "gui" };
        Ok(Rendered {
            program: self.candidate.program.clone(),
            args: Vmrun::arguments(self.edition.kind(), &configuration, "start", Some(mode)),
            files: vec![RenderedFile { name: CONFIGURATION.into(), content: dictionary::print(&entries) }],
        })
    }

    fn launch(&self, machine: &Machine, rendered: &Rendered) -> Result<Running> {
        if machine.disks.is_empty() {
            return Err(Error::new(Kind::Drive, "VMware starts no machine without a disk"));
        }
        launch::launch(self.edition, machine, rendered)
    }
}
