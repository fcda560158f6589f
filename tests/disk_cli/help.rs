//! Every command explains itself.

use super::bench::Bench;

const COMMANDS: [&str; 9] =
    ["merge", "undo", "redo", "history", "compact", "recover", "check", "info", "map"];

#[test]
fn every_command_has_a_help_with_examples_that_start_with_its_name() {
    let bench = Bench::new();
    let list = bench.done(&["--help"]).stdout;
    for command in COMMANDS {
        assert!(list.contains(&format!("\n  {command} ")), "{command} is not in: {list}");
        for flag in ["-h", "--help"] {
            let help = bench.done(&[command, flag]).stdout;
            let example = format!("  pocketvm disk {command} ");
            assert!(help.contains("Example") && help.contains(&example), "{command} {flag}: {help}");
            assert!(help.contains("--record") && help.contains("--json"), "{command} {flag}: {help}");
        }
    }
    // And no other command was forgotten in this list.
    let listed = list.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .collect();
    assert_eq!(listed, COMMANDS);
}
