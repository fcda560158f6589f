//! Commands for Hyper-V, as a parser of PowerShell understands them.

use pocketvm::hypervisor::hyperv::{SCRIPT, TEMPLATE};
use pocketvm::hypervisor::{Hypervisor as _, Machine};
use tree_sitter::{Node, Parser, Tree};

use crate::bench::{MACHINES, hyperv, machine};

fn parsed(script: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(script, None).unwrap()
}

/// Every node of a kind, in order.
fn nodes<'t>(tree: &'t Tree, is_meant: impl Fn(&Node<'t>) -> bool) -> Vec<Node<'t>> {
    let mut found = Vec::new();
    let mut left = vec![tree.root_node()];
    while let Some(node) = left.pop() {
        if is_meant(&node) {
            found.push(node);
        }
        let mut cursor = node.walk();
        let children: Vec<_> = node.children(&mut cursor).collect();
        left.extend(children.into_iter().rev());
    }
    found
}

/// What the parser does not understand, with its line.
fn mistakes(script: &str) -> Vec<String> {
    let tree = parsed(script);
    let wrong = nodes(&tree, |node| node.is_error() || node.is_missing());
    wrong
        .iter()
        .map(|node| format!("line {}: {}", node.start_position().row + 1, &script[node.byte_range()]))
        .collect()
}

fn rendered(machine: &Machine) -> String {
    let system = tempfile::tempdir().unwrap();
    let file = hyperv(system.path()).render(machine, TEMPLATE).unwrap().files.remove(0);
    assert_eq!(file.name, "machine.ps1");
    // Without this mark Windows' own PowerShell does not take the file for Unicode.
    file.content.strip_prefix('\u{feff}').unwrap().to_owned()
}

#[test]
fn a_parser_of_powershell_understands_every_machine() {
    for number in 0..MACHINES {
        let machine = machine(number, "ide", "vhd");
        let script = rendered(&machine);
        assert_eq!(mistakes(&script), Vec::<String>::new(), "{script}");
        let tree = parsed(&script);
        let commands = nodes(&tree, |node| node.kind() == "command_name");
        let called: Vec<&str> = commands.iter().map(|node| &script[node.byte_range()]).collect();
        let count = |name: &str| called.iter().filter(|one| **one == name).count();
        assert_eq!(called.len(), script.lines().count(), "a line is a command: {script}");
        assert_eq!(called[0], "New-VM");
        assert_eq!(count("Add-VMHardDiskDrive"), machine.disks.len());
        assert_eq!(count("Add-VMNetworkAdapter"), usize::from(machine.devices.network));
        assert_eq!(count("Set-VMVideo"), usize::from(machine.display.is_some()));
    }
}

#[test]
fn nothing_in_a_name_is_more_than_text_to_it() {
    for name in
        ["x'; calc; '", "x’; calc; ’", "x‘'; calc", "$(calc)", "a\r\ncalc", "x' -Verbose 'y", "`'; calc"]
    {
        let mut machine = machine(0, "ide", "vhd");
        machine.name = name.into();
        let script = rendered(&machine);
        assert_eq!(mistakes(&script), Vec::<String>::new(), "{script}");
        let tree = parsed(&script);
        for kind in ["sub_expression", "script_block", "expandable_string_literal", "invokation_expression"] {
            assert!(nodes(&tree, |node| node.kind() == kind).is_empty(), "{kind}: {script}");
        }
        let commands = nodes(&tree, |node| node.kind() == "command_name");
        assert!(commands.iter().all(|node| script[node.byte_range()].contains("-VM")), "{script}");
    }
}

#[test]
fn it_understands_our_own_script_as_well() {
    assert_eq!(mistakes(SCRIPT), Vec::<String>::new());
    assert!(SCRIPT.is_ascii(), "what is not, Windows' own PowerShell may read otherwise");
    assert!(SCRIPT.contains("'machine.ps1'"));
}

#[test]
fn it_finds_what_is_broken() {
    let sound = rendered(&machine(0, "ide", "vhd"));
    for (from, to) in [
        ("-NoVHD -Path '", "-NoVHD -Path "),
        ("Set-VMMemory -VM $vm", "Set-VMMemory -VM $("),
        ("-Count 1", "-Count { 1"),
        ("Set-VMProcessor -VM $vm", "Set-VMProcessor | -VM )"),
    ] {
        assert!(sound.contains(from), "{from} is not in {sound}");
        assert_ne!(mistakes(&sound.replacen(from, to, 1)), Vec::<String>::new(), "{to} passes");
    }
}
