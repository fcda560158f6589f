//! Hyper-V: commands of Windows' own PowerShell.
//!
//! Written from documentation and from scripts that people published, and checked by a parser of PowerShell and ours: there
//! was no Windows to try it with.
//!
//! A machine exists in Hyper-V only while its session lives: `helper` makes it, looks at it, starts it, and is then the channel
//! to it. It is of the first generation with its disks on IDE, which is what guests boot from that were not made for Hyper-V;
//! a serial port would be a pipe that somebody must read, so there is no serial log. Sound, a common clipboard and USB need a
//! session of Remote Desktop with the guest, which only Windows guests offer: here there are none. Such a guest has a window
//! that asks its user which of them to share; that is theirs to decide. Hyper-V has no power button: a guest shuts down on
//! request only if its shutdown service runs.

use std::path::{Path, PathBuf};

use crate::hypervisor::record::Started;
use crate::hypervisor::{
    Candidate, Capabilities, Devices, DiskFormat, Door, Ending, Hypervisor, Machine, Offered, Places,
    Rendered, RenderedFile, Running, Template, Verdicts,
};
use crate::{Error, Kind, Result};

mod allowed;
mod commands;
mod detect;
mod events;
mod helper;
mod launch;
mod record;
mod rules;
mod running;
mod template;

pub use helper::SCRIPT;

/// The key in the manifest.
const NAME: &str = "hyperv";

/// What is known of Hyper-V without having one.
pub(crate) const DOOR: HyperVs = HyperVs;

/// The built-in template.
pub const TEMPLATE: &str = include_str!("../../../templates/hyperv.ps1.hbs");

/// In scratch: the commands that make the machine. The script names it, too.
const COMMANDS: &str = "machine.ps1";

/// The accelerator that uses the processor's virtualisation: Hyper-V has no other.
const HARDWARE: &str = "hardware";

/// Every Hyper-V.
pub(crate) struct HyperVs;

impl Door for HyperVs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> &'static str {
        "Hyper-V"
    }

    fn hardware(&self) -> Offered {
        template::HARDWARE
    }

    fn template(&self) -> Template {
        Template { name: "hyperv.ps1.hbs", text: TEMPLATE }
    }

    fn detect(&self, _: &Places, _: &mut Verdicts, say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
        detect::detect(say)
    }

    fn open(&self, candidate: Candidate) -> Result<Box<dyn Hypervisor>> {
        Ok(Box::new(HyperV::new(candidate)))
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

    fn forget(&self, scratch: &Path) -> Result<()> {
        launch::forget(scratch)
    }
}

/// The door to Hyper-V.
pub struct HyperV {
    candidate: Candidate,
}

impl HyperV {
    /// The door to `candidate`.
    #[must_use]
    pub fn new(candidate: Candidate) -> HyperV {
        HyperV { candidate }
    }

    /// The program that shows a machine in a window: a part of Hyper-V's tools for management. PowerShell lies three folders
    /// below it.
    fn window(&self) -> Option<PathBuf> {
        let path = self.candidate.program.ancestors().nth(3)?.join("vmconnect.exe");
        path.is_file().then_some(path)
    }
}

impl Hypervisor for HyperV {
    fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    fn capabilities(&self) -> Capabilities {
        let window = self.window().is_some();
        Capabilities {
            overlay: DiskFormat::Vhd,
            reads_drive: false,
            hardware: template::HARDWARE,
            firmware: &["bios"],
            most_disks: template::MOST_DISKS,
            // There is nothing to open again: it works on copies.
            reopen_base: true,
            pause: true,
            adopt: true,
            discard: false,
            window,
            headless: true,
            encryption: false,
            needs_administrator: true,
            release_keys: window.then_some("Ctrl+Alt+Left"),
            devices: Devices {
                network: true,
                sound: false,
                clipboard: false,
                usb: false,
                display: window,
                share: false,
                variables: false,
                tpm: false,
            },
        }
    }

    fn render(&self, machine: &Machine, template: &str) -> Result<Rendered> {
        let commands = template::render(machine, template)?;
        allowed::check(&commands, machine)?;
        let window = if machine.headless {
            None
        } else {
            Some(self.window().ok_or_else(|| {
                Error::new(Kind::Hypervisor, "this Hyper-V can't open a window: vmconnect.exe is missing")
                    .hint("turn on the Windows feature “Hyper-V GUI Management Tools”")
            })?)
        };
        let order = helper::Order {
            mode: "start",
            session: machine.session(),
            uuid: Some(machine.uuid),
            since: None,
            window: window.as_deref(),
        };
        let commands = format!("\u{feff}{}", commands::print(&commands));
        Ok(Rendered {
            program: self.candidate.program.clone(),
            args: order.arguments(&machine.scratch),
            files: vec![RenderedFile { name: COMMANDS.into(), content: commands }, helper::script()],
        })
    }

    fn launch(&self, machine: &Machine, rendered: &Rendered) -> Result<Running> {
        launch::launch(machine, rendered)
    }
}
