//! The descriptor of a VMDK: text that says what the file is, and what it lies over.

use std::collections::BTreeMap;

/// No parent, as a content id.
pub(super) const NO_PARENT: u32 = u32::MAX;

/// What is used of a descriptor.
#[derive(Debug)]
pub(super) struct Descriptor {
    /// The content id: changes when the content does.
    pub cid: u32,
    parent_cid: u32,
    /// Which kind of disk the file is, or belongs to.
    pub create_type: String,
    /// Sectors of the one extent.
    pub sectors: u64,
    /// VirtualBox's UUIDs and the rest of the disk database.
    keys: BTreeMap<String, String>,
}

impl Descriptor {
    /// Reads the text, which ends at the first zero byte.
    ///
    /// # Errors
    /// What is wrong, as a clause.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        // Names may be in the code page of a Windows; everything that is used is ASCII.
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut keys = BTreeMap::new();
        let mut extents = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if ["RW ", "RDONLY ", "NOACCESS "].iter().any(|start| line.starts_with(start)) {
                extents.push(line);
                continue;
            }
            let (key, value) =
                line.split_once('=').ok_or("a line of its descriptor is neither a key nor an extent")?;
            let value = value.trim().trim_matches('"').to_owned();
            if keys.insert(key.trim().to_ascii_lowercase(), value).is_some() {
                return Err("its descriptor has a key twice".to_owned());
            }
        }
        let number = |key: &str| {
            let value = keys.get(key).ok_or_else(|| format!("its descriptor does not say its {key}"))?;
            u32::from_str_radix(value, 16).map_err(|_| format!("its descriptor's {key} is no number"))
        };
        let (cid, parent_cid) = (number("cid")?, number("parentcid")?);
        let create_type =
            keys.get("createtype").cloned().ok_or("its descriptor does not say what kind it is")?;
        let [extent] = extents[..] else {
            return Err(format!("its descriptor names {} extents", extents.len()));
        };
        let mut words = extent.split_ascii_whitespace().skip(1);
        let sectors = words.next().and_then(|word| word.parse().ok());
        let sectors = sectors.ok_or("the extent of its descriptor has no size")?;
        if words.next() != Some("SPARSE") && create_type == "monolithicSparse" {
            return Err("the extent of its descriptor is not sparse".to_owned());
        }
        Ok(Descriptor { cid, parent_cid, create_type, sectors, keys })
    }

    /// A UUID of VirtualBox's; none if it is zero or not there.
    pub fn uuid(&self, key: &str) -> Option<uuid::Uuid> {
        let uuid = self.keys.get(&format!("ddb.uuid.{key}"))?.parse::<uuid::Uuid>().ok()?;
        Some(uuid).filter(|uuid| !uuid.is_nil())
    }

    /// Whether the file holds changes to another. VirtualBox names the parent by its UUID only.
    pub fn has_parent(&self) -> bool {
        self.parent_cid != NO_PARENT || self.uuid("parent").is_some()
    }
}
