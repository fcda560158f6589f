//! What a template from a stranger's stick can't tell Hyper-V.

use pocketvm::hypervisor::hyperv::TEMPLATE;
use pocketvm::hypervisor::{Hypervisor as _, Machine};

use crate::bench::{hyperv, machine};

/// A machine without a window, a network card and a screen's size, with four disks.
fn plain() -> Machine {
    machine(3, "ide", "vhd")
}

fn render(machine: &Machine, template: &str) -> Result<String, String> {
    let system = tempfile::tempdir().unwrap();
    let rendered = hyperv(system.path()).render(machine, template).map_err(|error| error.to_string())?;
    Ok(rendered.files[0].content.clone())
}

/// Replaces `from`, which must be there, in the built-in template.
fn with(from: &str, to: &str) -> String {
    assert!(TEMPLATE.contains(from), "the built-in template no longer has {from}");
    TEMPLATE.replace(from, to)
}

/// The built-in template and more lines.
fn and(lines: &str) -> String {
    format!("{TEMPLATE}\n{lines}\n")
}

#[track_caller]
fn refused(template: &str, because: &str) {
    let error = render(&plain(), template).expect_err("this must be refused");
    assert!(error.contains(because), "{error}");
}

#[test]
fn the_built_in_template_renders_to_these_commands() {
    insta::assert_snapshot!(render(&machine(57, "ide", "vhd"), TEMPLATE).unwrap());
}

#[test]
fn powershell_is_told_our_script_and_nothing_of_the_template() {
    let system = tempfile::tempdir().unwrap();
    let machine = machine(0, "ide", "vhd");
    let rendered = hyperv(system.path()).render(&machine, TEMPLATE).unwrap();
    let own = |file: &str| machine.scratch.join(file).display().to_string();
    assert_eq!(
        rendered.args,
        [
            "-NoProfile",
            "-NonInteractive",
            "-ExecutionPolicy",
            "Bypass",
            "-File",
            &own("hyperv-helper.ps1"),
            "-Mode",
            "start",
            "-Session",
            &machine.session().to_string(),
            "-Uuid",
            &machine.uuid.to_string(),
            "-Window",
            &system.path().join("vmconnect.exe").display().to_string(),
        ]
    );
    let names: Vec<&str> = rendered.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["machine.ps1", "hyperv-helper.ps1"]);
}

#[test]
fn no_other_command_is_accepted() {
    for command in [
        "Invoke-Expression -Command 'calc'",
        "Start-Process -FilePath 'calc.exe'",
        "Start-VM -VM $vm",
        "Set-VMComPort -VM $vm -Number 1 -Path '\\\\.\\pipe\\x'",
        "Set-VMDvdDrive -VMName '{{title}}' -Path 'C:\\x.iso'",
        "Add-VMDvdDrive -VM $vm -Path 'C:\\x.iso'",
        "Set-VMFloppyDiskDrive -VM $vm -Path 'C:\\x.vfd'",
        "Add-VMAssignableDevice -VM $vm -LocationPath 'x'",
        "Add-VMScsiController -VM $vm",
        "Copy-VMFile -VM $vm -SourcePath 'C:\\x' -DestinationPath '/x'",
        "Set-VMHost -EnableEnhancedSessionMode $true",
        "New-VMSwitch -Name 'x' -NetAdapterName 'Ethernet'",
        "Checkpoint-VM -VM $vm",
        "Export-VM -VM $vm -Path 'C:\\'",
        "Remove-VM -VM $vm",
        "Enable-VMResourceMetering -VM $vm",
        "Set-VMFirmware -VM $vm",
        "Import-Module -Name 'C:\\x'",
        "set-vm -VM $vm",
    ] {
        refused(&and(command), "is not on the list");
    }
}

#[test]
fn no_other_parameter_is_accepted() {
    for (from, to) in [
        ("Set-VMMemory -VM $vm", "Set-VMMemory -ComputerName 'x' -VM $vm"),
        ("-NoVHD", "-NewVHDPath 'C:\\x.vhd' -NewVHDSizeBytes 1"),
        ("-NoVHD", "-VHDPath 'C:\\Windows\\x.vhd'"),
        ("-NoVHD", "-NoVHD -SwitchName 'x'"),
        ("-NoVHD", "-NoVHD -Credential $vm"),
        ("-ControllerType 'IDE'", "-ControllerType 'IDE' -DiskNumber 0"),
        ("-ControllerType 'IDE'", "-ControllerType 'IDE' -AllowUnverifiedPaths"),
        ("Set-VMProcessor -VM $vm", "Set-VMProcessor -WhatIf -VM $vm"),
    ] {
        refused(&with(from, to), "is not on the list");
    }
}

#[test]
fn nothing_of_powershells_language_is_accepted() {
    for line in [
        "Set-VMMemory -VM $vm -DynamicMemoryEnabled $false; calc",
        "Set-VMMemory -VM $vm -DynamicMemoryEnabled $false | calc",
        "Set-VMMemory -VM $vm -DynamicMemoryEnabled (calc)",
        "Set-VMMemory -VM $vm -DynamicMemoryEnabled $(calc)",
        "Set-VMMemory -VM $(calc) -DynamicMemoryEnabled $false",
        "Set-VMMemory -VM $env:COMPUTERNAME -DynamicMemoryEnabled $false",
        "Set-VMMemory -VM $vm `",
        "Set-VMMemory -VM \"$(calc)\"",
        "Set-VMMemory @x",
        "& 'calc.exe'",
        ". 'C:\\x.ps1'",
        "calc",
        "$vm = 'x'",
        "$x = 1",
        "[System.IO.File]::Delete('x')",
        "if ($true) { calc }",
        "function Set-VM { calc }",
        "Set-Alias -Name 'Set-VM' -Value 'calc'; Set-VM",
        "#> calc",
        "Set-VMMemory -VM $vm -DynamicMemoryEnabled $false # x",
        "Set-VMMemory -VM 'x''",
        "Set-VMMemory -VM 'x’",
    ] {
        // Where the words are in a comment, they are in none of ours.
        match render(&plain(), &and(line)) {
            Err(error) => {
                assert!(error.contains("mistake in line") || error.contains("not on the list"), "{error}")
            }
            Ok(script) => assert!(!script.contains("calc") && line.starts_with('#'), "{line}"),
        }
    }
}

#[test]
fn no_other_file_of_the_pc_is_a_disk() {
    refused(&with("-Path '{{overlay}}'", "-Path 'C:\\Windows\\x.vhd'"), "“Path” can't be");
    refused(&with("-Path '{{overlay}}'", "-Path '{{@root.disks.[0].overlay}}'"), "exactly once");
    refused(&with("-ControllerType 'IDE'", "-ControllerType 'SCSI'"), "“ControllerType” can't be");
    refused(&with("-ControllerLocation {{location}}", "-ControllerLocation 7"), "must have the disk");
    refused(
        &with("{{#each disks}}", "{{#each disks}}{{#if @first}}").replace("{{/each}}", "{{/if}}{{/each}}"),
        "must have the disk user exactly once",
    );
    let twice = "{{#each disks}}\nAdd-VMHardDiskDrive -VM $vm -ControllerType 'IDE' -ControllerNumber {{number}} \
                 -ControllerLocation {{location}} -Path '{{overlay}}'\n{{/each}}";
    refused(&and(twice), "exactly once");
    refused(&with("-Path '{{folder}}'", "-Path 'C:\\'"), "“Path” can't be");
    refused(&with("-SnapshotFileLocation '{{folder}}'", "-SnapshotFileLocation 'D:\\'"), "can't be");
}

#[test]
fn no_change_is_kept_elsewhere() {
    refused(&with("-CheckpointType 'Disabled'", "-CheckpointType 'Production'"), "can't be “Production”");
    refused(&with("-CheckpointType 'Disabled' ", ""), "“CheckpointType” is missing");
    refused(&with("-AutomaticCheckpointsEnabled $false", "-AutomaticCheckpointsEnabled $true"), "$true");
    refused(&with("-AutomaticStopAction 'ShutDown'", "-AutomaticStopAction 'Save'"), "can't be “Save”");
    refused(&with("-AutomaticStartAction 'Nothing'", "-AutomaticStartAction 'Start'"), "can't be “Start”");
    refused(&with("-Notes 'PocketVM session {{session}}'", "-Notes 'x'"), "“Notes” can't be");
}

#[test]
fn what_the_manifest_does_not_wish_for_can_not_be_had() {
    refused(&with("{{#if devices.network}}", "{{#if name}}"), "“SwitchName” can't be");
    let mut machine = plain();
    machine.devices.network = true;
    for (from, to, why) in [
        ("-SwitchName $lan", "-SwitchName 'External'", "“SwitchName” can't be"),
        ("-SwitchName $lan ", "", "“SwitchName” is missing"),
        ("'{{mac}}'", "'525400000001'", "“StaticMacAddress” can't be"),
        ("Remove-VMNetworkAdapter -VM $vm\n", "", "must have Remove-VMNetworkAdapter exactly once"),
    ] {
        let error = render(&machine, &with(from, to)).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let late =
        format!("{}\nRemove-VMNetworkAdapter -VM $vm\n", with("Remove-VMNetworkAdapter -VM $vm\n", ""));
    assert!(render(&machine, &late).unwrap_err().contains("removes the network card"), "a card must stay");
}

#[test]
fn the_plan_is_kept() {
    refused(&with("{{memory_bytes}}", "68719476736"), "“MemoryStartupBytes” can't be 68719476736");
    refused(&with("{{memory_bytes}}", "1GB"), "mistake in line");
    refused(&with("-Count {{cpus}}", "-Count 64"), "“Count” can't be 64");
    refused(&with("-Generation 1", "-Generation 2"), "“Generation” can't be 2");
    refused(&with("-DynamicMemoryEnabled $false", "-DynamicMemoryEnabled $true"), "can't be $true");
    refused(&with("$vm = New-VM", "New-VM"), "only $vm = New-VM");
    refused(&with("-Name '{{title}}'", "-Name '{{name}}'"), "“Name” can't be");
    refused(&with("Remove-VMDvdDrive -VMName '{{title}}'", "Remove-VMDvdDrive -VMName 'Server'"), "can't be");
    refused("", "must have New-VM exactly once");
    refused(&and(&"Set-VMMemory -VM $vm -DynamicMemoryEnabled $false\n".repeat(200)), "too many");
}

#[test]
fn a_controller_that_guests_do_not_boot_from_is_no_place_for_a_disk() {
    let error = render(&machine(1, "ahci", "vhd"), TEMPLATE).unwrap_err();
    assert!(error.contains("no place for the disk system on ahci"), "{error}");
    let mut machine = plain();
    machine.disks.push(machine.disks[0].clone());
    assert!(render(&machine, TEMPLATE).unwrap_err().contains("no place"));
}
