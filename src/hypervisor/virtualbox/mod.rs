//! VirtualBox: a settings file of its own kind, and its command line `VBoxManage`.
//!
//! A machine exists in VirtualBox only while its session lives: it is registered before the start and forgotten afterwards,
//! with an id that is the session's. Its disks are VMDK images in the session's folder, because VirtualBox neither reads qcow2
//! safely nor pauses the guest when a drive is pulled.

use std::path::Path;
use std::sync::OnceLock;

use crate::hypervisor::record::Started;
use crate::hypervisor::{
    Candidate, Capabilities, Chips, Devices, DiskFormat, Door, Ending, Hypervisor, Machine, Offered, Places,
    Rendered, RenderedFile, Running, Template, Unusable, Verdicts,
};
use crate::{Error, Kind, Result};

mod allowed;
mod detect;
mod launch;
mod log;
mod manage;
mod nvram;
mod readback;
mod record;
mod rules;
mod running;
mod template;

use manage::Manage;

/// The key in the manifest.
const NAME: &str = "virtualbox";

/// What is known of VirtualBox without having one.
pub(crate) const DOOR: VirtualBoxes = VirtualBoxes;

/// The built-in template.
pub const TEMPLATE: &str = include_str!("../../../templates/virtualbox.xml.hbs");

/// In scratch: the machine's settings.
const SETTINGS: &str = "machine.vbox";

/// The accelerator that uses the processor's virtualisation, through VirtualBox's kernel module or Hyper-V.
const HARDWARE: &str = "hardware";

/// VirtualBox's own interpreter. It needs no kernel module and is hundreds of times slower.
const INTERPRETER: &str = "interpreter";

/// The first version with a TPM, and with variables of UEFI in the format that we know.
const OLDEST_WITH_CHIPS: (u32, u32) = (7, 0);

/// Every VirtualBox.
pub(crate) struct VirtualBoxes;

impl Door for VirtualBoxes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn title(&self) -> &'static str {
        "VirtualBox"
    }

    fn hardware(&self) -> Offered {
        template::HARDWARE
    }

    fn template(&self) -> Template {
        Template { name: "virtualbox.xml.hbs", text: TEMPLATE }
    }

    fn detect(&self, _: &Places, _: &mut Verdicts, say: &(dyn Fn(&str) + Sync)) -> Vec<Candidate> {
        detect::detect(say)
    }

    fn open(&self, candidate: Candidate) -> Result<Box<dyn Hypervisor>> {
        Ok(Box::new(VirtualBox { candidate, window: OnceLock::new() }))
    }

    fn ran(&self, scratch: &Path) -> Result<bool> {
        launch::ran(scratch)
    }

    fn runs(&self, scratch: &Path, _: &Started) -> Result<bool> {
        launch::runs(scratch)
    }

    fn adopt(&self, scratch: &Path) -> Result<Option<Running>> {
        launch::adopt(scratch)
    }

    fn ending(&self, scratch: &Path) -> Result<Option<Ending>> {
        launch::ending(scratch)
    }

    fn collect(&self, scratch: &Path, chips: &Chips) -> Result<Vec<Unusable>> {
        nvram::collect(scratch, chips)
    }

    fn forget(&self, scratch: &Path) -> Result<()> {
        launch::forget(scratch)
    }
}

/// The door to one VirtualBox.
struct VirtualBox {
    candidate: Candidate,
    window: OnceLock<bool>,
}

impl VirtualBox {
    /// Whether the program that shows a machine in a window is installed beside `VBoxManage`.
    fn has_window(&self) -> bool {
        *self.window.get_or_init(|| manage::beside(&self.candidate.program, manage::WINDOW).is_some())
    }

    /// Whether it has a UEFI like QEMU's, and a TPM.
    fn has_chips(&self) -> bool {
        let version = self.candidate.version.as_deref().and_then(detect::number);
        version.is_some_and(|version| version >= OLDEST_WITH_CHIPS)
    }

    /// The program that runs a machine, and what it is told.
    fn runner(&self, machine: &Machine) -> Result<(std::path::PathBuf, Vec<String>)> {
        let interpreter = machine.accelerator == INTERPRETER;
        // Only the program with the window can do without the kernel module.
        let (program, what) = if machine.headless && !interpreter {
            (manage::HEADLESS, "run a machine without a window")
        } else {
            (manage::WINDOW, "open a window")
        };
        let path = manage::beside(&self.candidate.program, program).ok_or_else(|| {
            let what = format!("this VirtualBox can't {what}: {program} is missing");
            Error::new(Kind::Hypervisor, what)
                .hint("install all of VirtualBox (on Debian and Ubuntu: the package virtualbox-qt)")
        })?;
        let mut arguments =
            vec!["--startvm".to_owned(), machine.session().to_string(), "--start-paused".into()];
        if interpreter {
            arguments.push("--driverless".into());
        }
        match program {
            manage::HEADLESS => arguments.extend(["--vrde", "off"].map(str::to_owned)),
            // A message in a window would be waited for.
            _ => arguments.push("--no-startvm-errormsgbox".into()),
        }
        Ok((path, arguments))
    }
}

impl Hypervisor for VirtualBox {
    fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    fn capabilities(&self) -> Capabilities {
        let window = self.has_window();
        let chips = self.has_chips();
        Capabilities {
            overlay: DiskFormat::Vmdk,
            reads_drive: false,
            hardware: template::HARDWARE,
            firmware: if chips { &["bios", "uefi"] } else { &["bios"] },
            most_disks: template::MOST_AHCI,
            // There is nothing to open again: it works on copies.
            reopen_base: true,
            pause: true,
            // On Windows it ends with the launcher.
            adopt: crate::host::channel::RECONNECTS,
            discard: false,
            window,
            headless: true,
            encryption: false,
            needs_administrator: false,
            release_keys: window.then(template::host_key),
            devices: Devices {
                network: true,
                sound: true,
                clipboard: window,
                usb: window,
                display: window,
                share: true,
                variables: chips,
                tpm: chips,
            },
        }
    }

    fn render(&self, machine: &Machine, template: &str) -> Result<Rendered> {
        let settings = template::render(machine, template)?;
        let settings = allowed::checked(&settings, machine)?;
        let (program, args) = self.runner(machine)?;
        Ok(Rendered { program, args, files: vec![RenderedFile { name: SETTINGS.into(), content: settings }] })
    }

    fn launch(&self, machine: &Machine, rendered: &Rendered) -> Result<Running> {
        launch::launch(&Manage::new(&self.candidate.program), machine, rendered)
    }
}
