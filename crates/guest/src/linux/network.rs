//! Where the guest's configuration names network cards: by their name, which a place gives them, or by their MAC address.
//!
//! Six ways of configuring are known. Of each only names and addresses are read, nothing secret. netplan's YAML is read as
//! lines, which is enough for how it is written by installers.

use serde::Serialize;

use super::files::Files;
use crate::Result;

/// Bytes of one file; files of one folder; cards in all.
const FILE_AT_MOST: u64 = 256 << 10;
const FILES_AT_MOST: usize = 100;
const CARDS_AT_MOST: usize = 200;

/// A card as a configuration names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its name, or a pattern of names such as `en*`.
    pub name: Option<String>,
    /// Its MAC address as it is written.
    pub mac: Option<String>,
    /// The file that names it.
    pub file: String,
}

/// Finds the cards that a configuration names.
pub(super) fn find(files: &Files) -> Result<Vec<Card>> {
    let mut cards = Vec::new();
    let folders: [(&str, Wanted, Parser); 7] = [
        ("/etc/network/interfaces.d", |_| true, interfaces),
        ("/etc/systemd/network", |name| ends(name, &[".network", ".link"]), networkd),
        ("/etc/NetworkManager/system-connections", |_| true, keyfile),
        ("/etc/sysconfig/network-scripts", |name| name.starts_with("ifcfg-"), ifcfg),
        ("/etc/sysconfig/network", |name| name.starts_with("ifcfg-"), ifcfg),
        ("/etc/netplan", |name| ends(name, &[".yaml", ".yml"]), netplan),
        ("/etc/udev/rules.d", |name| ends(name, &[".rules"]), udev),
    ];
    let path = "/etc/network/interfaces";
    add(&mut cards, path, &files.text(path, FILE_AT_MOST)?, interfaces);
    for (folder, wanted, parser) in folders {
        for name in files.names(folder)?.into_iter().filter(|name| wanted(name)).take(FILES_AT_MOST) {
            let path = format!("{folder}/{name}");
            add(&mut cards, &path, &files.text(&path, FILE_AT_MOST)?, parser);
        }
    }
    Ok(cards)
}

/// Whether a file of a folder counts, by its name.
type Wanted = fn(&str) -> bool;

/// The cards in one file: name and MAC address.
type Parser = fn(&str) -> Vec<(Option<String>, Option<String>)>;

fn ends(name: &str, suffixes: &[&str]) -> bool {
    suffixes.iter().any(|suffix| name.ends_with(suffix))
}

fn add(cards: &mut Vec<Card>, path: &str, text: &str, parser: Parser) {
    for (name, mac) in parser(text) {
        let name = name.filter(|name| !name.is_empty() && name != "lo" && name.len() <= 128);
        let mac = mac.filter(|mac| !mac.is_empty() && mac.len() <= 128);
        let card = Card { name, mac, file: path.to_owned() };
        if (card.name.is_some() || card.mac.is_some())
            && cards.len() < CARDS_AT_MOST
            && !cards.contains(&card)
        {
            cards.push(card);
        }
    }
}

/// ifupdown: `iface eth0 inet dhcp`, and `auto` or `allow-hotplug` before it.
fn interfaces(text: &str) -> Vec<(Option<String>, Option<String>)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("iface") => found.extend(words.next().map(|name| (Some(name.to_owned()), None))),
            Some("auto" | "allow-auto" | "allow-hotplug") => {
                found.extend(words.map(|name| (Some(name.to_owned()), None)));
            }
            _ => {}
        }
    }
    found
}

/// The assignments of a file in sections: section, key, value.
fn assignments(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut section = "";
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            return None;
        }
        let (key, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
        Some((section, key.trim(), value.trim()))
    })
}

/// systemd-networkd's `.network` and `.link`.
fn networkd(text: &str) -> Vec<(Option<String>, Option<String>)> {
    let (mut names, mut macs, mut given) = (Vec::new(), Vec::new(), None);
    for (section, key, value) in assignments(text) {
        let words = value.split_ascii_whitespace().map(str::to_owned);
        match (section, key) {
            ("Match", "Name" | "OriginalName") => names.extend(words),
            ("Match", "MACAddress" | "PermanentMACAddress") => macs.extend(words),
            ("Link", "Name") => given = Some(value.to_owned()),
            _ => {}
        }
    }
    if let Some(name) = given {
        return vec![(Some(name), macs.into_iter().next())];
    }
    let named = names.into_iter().map(|name| (Some(name), None));
    named.chain(macs.into_iter().map(|mac| (None, Some(mac)))).collect()
}

/// NetworkManager's keyfile: the card by its name, by its MAC address, or any.
fn keyfile(text: &str) -> Vec<(Option<String>, Option<String>)> {
    let (mut name, mut mac) = (None, None);
    for (section, key, value) in assignments(text) {
        match (section, key) {
            ("connection", "interface-name") => name = Some(value.to_owned()),
            ("ethernet" | "802-3-ethernet", "mac-address") => mac = Some(value.to_owned()),
            _ => {}
        }
    }
    vec![(name, mac)]
}

/// The shell variables of RHEL until 9, and of SUSE.
fn ifcfg(text: &str) -> Vec<(Option<String>, Option<String>)> {
    let (mut name, mut mac) = (None, None);
    for (_, key, value) in assignments(text) {
        let value = value.trim_matches(['"', '\'']).to_owned();
        match key {
            "DEVICE" => name = Some(value),
            "HWADDR" => mac = Some(value),
            _ => {}
        }
    }
    vec![(name, mac)]
}

/// netplan: below `ethernets:` the names, with `match:` and `set-name:` further in.
fn netplan(text: &str) -> Vec<(Option<String>, Option<String>)> {
    let mut found: Vec<(Option<String>, Option<String>)> = Vec::new();
    let (mut section, mut entry) = (None, None);
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        let Some((key, value)) = content.split_once(':').filter(|_| !content.starts_with('#')) else {
            continue;
        };
        let value = value.split(" #").next().unwrap_or("").trim().trim_matches(['"', '\'']).to_owned();
        let key = key.trim_matches(['"', '\'']);
        if section.is_some_and(|section| indent <= section) {
            (section, entry) = (None, None);
        }
        match section {
            None if key == "ethernets" => section = Some(indent),
            None => {}
            Some(_) if entry.is_none_or(|entry| indent <= entry) => {
                entry = Some(indent);
                found.push((Some(key.to_owned()), None));
            }
            Some(_) => {
                let Some(last) = found.last_mut() else { continue };
                match key {
                    // The key above is then only a name for people.
                    "macaddress" => (last.0, last.1) = (None, Some(value)),
                    "name" | "set-name" => last.0 = Some(value),
                    _ => {}
                }
            }
        }
    }
    found
}

/// udev's rules that name cards: `SUBSYSTEM=="net", …, ATTR{address}=="…", …, NAME="eth0"`.
fn udev(text: &str) -> Vec<(Option<String>, Option<String>)> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains("\"net\""))
    {
        let value = |key: &str| {
            let after = line.split(',').find_map(|part| part.trim().strip_prefix(key))?;
            Some(after.trim().strip_prefix('"')?.split('"').next()?.to_owned())
        };
        if let Some(name) = value("NAME=").or_else(|| value("NAME:=")) {
            found.push((Some(name), value("ATTR{address}==").or_else(|| value("ATTRS{address}=="))));
        }
    }
    found
}

/// What is in a text of any of the ways, for the fuzzer.
#[doc(hidden)]
#[must_use]
pub fn parse(text: &str) -> Vec<Card> {
    let mut cards = Vec::new();
    for parser in [interfaces, networkd, keyfile, ifcfg, netplan, udev] {
        add(&mut cards, "", text, parser);
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(parser: Parser, text: &str) -> Vec<(Option<String>, Option<String>)> {
        let mut cards = Vec::new();
        add(&mut cards, "", text, parser);
        cards.into_iter().map(|card| (card.name, card.mac)).collect()
    }

    fn pair(name: &str, mac: &str) -> (Option<String>, Option<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (some(name), some(mac))
    }

    #[test]
    fn ifupdown_names_cards() {
        let text =
            "auto lo ens3\niface lo inet loopback\n#iface x\nallow-hotplug enp0s3\niface enp0s3 inet dhcp\n";
        assert_eq!(found(interfaces, text), [pair("ens3", ""), pair("enp0s3", "")]);
    }

    #[test]
    fn networkd_and_network_manager_name_cards_or_addresses() {
        let text = "[Match]\nName=en* eth0\nMACAddress=52:54:00:00:00:01\n[Network]\nName=no\n";
        assert_eq!(found(networkd, text), [pair("en*", ""), pair("eth0", ""), pair("", "52:54:00:00:00:01")]);
        let text = "[Match]\nMACAddress=52:54:00:00:00:01\n[Link]\nName=lan0\n";
        assert_eq!(found(networkd, text), [pair("lan0", "52:54:00:00:00:01")]);
        let text = "[connection]\nid=Wired\ninterface-name=enp1s0\n[wifi-security]\npsk=secret\n[ethernet]\nmac-address=00:11\n";
        assert_eq!(found(keyfile, text), [pair("enp1s0", "00:11")]);
        assert_eq!(found(ifcfg, "DEVICE=\"eth0\"\nHWADDR=00:11\n"), [pair("eth0", "00:11")]);
    }

    #[test]
    fn netplan_is_read_by_its_lines() {
        let text = "network:\n  version: 2\n  ethernets:\n    ens3:\n      dhcp4: true\n    lan:\n      match:\n        macaddress: \"52:54:00:00:00:02\"\n      set-name: lan0\n  wifis:\n    wl0:\n      access-points: {}\n";
        assert_eq!(found(netplan, text), [pair("ens3", ""), pair("lan0", "52:54:00:00:00:02")]);
    }

    #[test]
    fn old_rules_of_udev_name_cards() {
        let text = "# PCI device\nSUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", ATTR{address}==\"52:54:00:00:00:03\", NAME=\"eth0\"\nSUBSYSTEM==\"block\", NAME=\"no\"\n";
        assert_eq!(found(udev, text), [pair("eth0", "52:54:00:00:00:03")]);
    }
}
