//! From checked settings to QEMU's argument vector. Text is never split, and every value is escaped for its place.

use serde_json::{Map, Value};

use super::template::Setting;

/// The options that QEMU reads as JSON since 6.2 (`-blockdev` since 2.9, `-object` since 6.0): no separator of theirs can be
/// part of a value.
const JSON: &[&str] = &["blockdev", "device", "object"];

/// `-option value` for each setting, in order.
pub fn vector(settings: &[Setting]) -> Vec<String> {
    settings
        .iter()
        .flat_map(|setting| {
            let value = match &setting.value {
                value @ Value::Object(_) if JSON.contains(&setting.option.as_str()) => value.to_string(),
                Value::Object(map) if setting.option == "cpu" => cpu(map),
                Value::Object(map) => key_values(map, ""),
                scalar => word(scalar),
            };
            [format!("-{}", setting.option), value]
        })
        .collect()
}

/// `key=value,key=value`; a comma inside a value is doubled (QEMU's `QemuOpts` and `keyval`).
fn key_values(map: &Map<String, Value>, prefix: &str) -> String {
    let parts = map.iter().map(|(key, value)| match value {
        Value::Object(inner) => key_values(inner, &format!("{prefix}{key}.")),
        scalar => format!("{prefix}{key}={}", doubled(scalar)),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// The model comes first and has no key.
fn cpu(map: &Map<String, Value>) -> String {
    let mut features = map.clone();
    let model = features.remove("model").map(|model| doubled(&model)).unwrap_or_default();
    match key_values(&features, "") {
        features if features.is_empty() => model,
        features => format!("{model},{features}"),
    }
}

fn doubled(scalar: &Value) -> String {
    word(scalar).replace(',', ",,")
}

/// A scalar as QEMU writes it.
fn word(scalar: &Value) -> String {
    match scalar {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(option: &str, value: Value) -> String {
        let mut vector = vector(&[Setting { option: option.into(), value, line: 1 }]);
        assert_eq!(vector[0], format!("-{option}"));
        assert_eq!(vector.len(), 2);
        vector.remove(1)
    }

    #[test]
    fn commas_are_doubled_where_they_separate() {
        assert_eq!(of("name", json!({ "guest": "a,b=c \"d\"" })), "guest=a,,b=c \"d\"");
        assert_eq!(of("machine", json!({ "type": "q35", "usb": false })), "type=q35,usb=off");
    }

    #[test]
    fn block_devices_are_json_and_keep_every_character() {
        let value = json!({ "driver": "file", "filename": "/a b/ü,\"x\"\\\n" });
        let text = of("blockdev", value.clone());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn the_cpu_model_comes_before_its_features() {
        assert_eq!(of("cpu", json!({ "avx2": false, "model": "max" })), "max,avx2=off");
        assert_eq!(of("cpu", json!({ "model": "max" })), "max");
        assert_eq!(of("cpu", json!("qemu64")), "qemu64");
    }
}
