//! What the window says: every text is in `assets/words/`, one file per language.

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use unic_langid::LanguageIdentifier;

/// A language that the window speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    /// `en`, `de`.
    pub code: &'static str,
    /// Its name in itself.
    pub name: &'static str,
    /// Its texts.
    pub source: &'static str,
    decimal: &'static str,
    date: &'static str,
}

/// All of them; the first is spoken where none of the others is wanted.
pub const LANGUAGES: [Language; 2] = [
    Language {
        code: "en",
        name: "English",
        source: include_str!("../../assets/words/en.ftl"),
        decimal: ".",
        date: "%Y-%m-%d",
    },
    Language {
        code: "de",
        name: "Deutsch",
        source: include_str!("../../assets/words/de.ftl"),
        decimal: ",",
        date: "%d.%m.%Y",
    },
];

/// The texts of one language.
pub struct Words {
    language: Language,
    bundle: FluentBundle<FluentResource>,
    zone: TimeZone,
}

impl Words {
    /// The texts for a wish like `de`; none, or one that can't be met, follows the PC's `locales`, best first.
    pub fn new(wish: Option<&str>, locales: &[String]) -> Words {
        let wished = wish.and_then(spoken);
        let language =
            wished.or_else(|| locales.iter().find_map(|locale| spoken(locale))).unwrap_or(LANGUAGES[0]);
        Words::of(language, TimeZone::system())
    }

    /// The texts of `language`, with times as in `zone`.
    pub fn of(language: Language, zone: TimeZone) -> Words {
        let id: LanguageIdentifier = language.code.parse().unwrap_or_default();
        let mut bundle = FluentBundle::new_concurrent(vec![id]);
        // Texts only run from left to right so far; the marks would show as boxes.
        bundle.set_use_isolating(false);
        // What a file has wrong is left out; the tests see to it that nothing is.
        let resource = FluentResource::try_new(language.source.to_owned()).unwrap_or_else(|(rest, _)| rest);
        let _ = bundle.add_resource(resource);
        Words { language, bundle, zone }
    }

    /// The language that is spoken.
    pub fn language(&self) -> Language {
        self.language
    }

    /// The text with this key.
    pub fn say(&self, key: &str) -> String {
        self.format(key, None)
    }

    /// The text with this key and these values.
    pub fn with<'a, const N: usize>(&self, key: &str, values: [(&'static str, Value<'a>); N]) -> String {
        let mut args = FluentArgs::with_capacity(N);
        for (name, value) in values {
            args.set(name, value.0);
        }
        self.format(key, Some(&args))
    }

    fn format(&self, key: &str, args: Option<&FluentArgs<'_>>) -> String {
        let pattern = self.bundle.get_message(key).and_then(|message| message.value());
        debug_assert!(pattern.is_some(), "no text has the key {key}");
        // A key says more than nothing.
        let Some(pattern) = pattern else { return key.to_owned() };
        let mut errors = vec![];
        let text = self.bundle.format_pattern(pattern, args, &mut errors).into_owned();
        debug_assert!(errors.is_empty(), "{key}: {errors:?}");
        text
    }

    /// An amount of bytes: `1.2 GiB`.
    pub fn bytes(&self, bytes: u64) -> String {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut unit = 0;
        let mut amount = bytes as f64;
        while amount >= 999.5 && unit + 1 < UNITS.len() {
            amount /= 1024.0;
            unit += 1;
        }
        let is_whole = unit == 0 || amount >= 99.95 || (amount - amount.round()).abs() < 0.05;
        self.decimal(amount, if is_whole { 0 } else { 1 }) + " " + UNITS[unit]
    }

    /// A number with so many digits behind the point.
    pub fn decimal(&self, number: f64, digits: usize) -> String {
        format!("{number:.digits$}").replace('.', self.language.decimal)
    }

    /// A length of time, as fine as people care.
    pub fn duration(&self, seconds: u64) -> String {
        match seconds {
            0..=89 => self.with("duration-seconds", [("seconds", seconds.into())]),
            90..=5_399 => self.with("duration-minutes", [("minutes", ((seconds + 30) / 60).into())]),
            _ => {
                let minutes = (seconds + 30) / 60;
                let minutes_left = format!("{:02}", minutes % 60);
                self.with(
                    "duration-hours",
                    [("hours", (minutes / 60).into()), ("minutes", minutes_left.into())],
                )
            }
        }
    }

    /// A moment, as people tell it `now`: `today, 14:05`, `Tuesday, 9:30`, `2026-11-03, 9:30`.
    pub fn moment(&self, moment: Timestamp, now: Timestamp) -> String {
        let (moment, now) = (self.local(moment), self.local(now));
        let time = moment.strftime("%H:%M").to_string();
        let days = now.date().since(moment.date()).map_or(-1, |span| span.get_days());
        match days {
            0 => self.with("day-today", [("time", time.into())]),
            1 => self.with("day-yesterday", [("time", time.into())]),
            2..=6 => {
                let day = self.say(&format!("weekday-{}", moment.weekday().to_monday_one_offset()));
                self.with("day-week", [("day", day.into()), ("time", time.into())])
            }
            _ => {
                let date = moment.strftime(self.language.date).to_string();
                self.with("day-date", [("date", date.into()), ("time", time.into())])
            }
        }
    }

    /// The time of day of a moment, to the second.
    pub fn time_of_day(&self, moment: Timestamp) -> String {
        self.local(moment).strftime("%H:%M:%S").to_string()
    }

    fn local(&self, moment: Timestamp) -> Zoned {
        moment.to_zoned(self.zone.clone())
    }
}

/// A value in a text.
pub struct Value<'a>(FluentValue<'a>);

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Value<'a> {
        Value(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value(text.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value((number as f64).into())
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        (number as u64).into()
    }
}

/// The language that a locale like `de_AT.UTF-8` asks for, if it is one of ours.
fn spoken(locale: &str) -> Option<Language> {
    let code = locale.split(['-', '_', '.', '@']).next().unwrap_or_default().to_ascii_lowercase();
    LANGUAGES.into_iter().find(|language| language.code == code)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    fn words(code: &str) -> Words {
        Words::of(spoken(code).unwrap(), TimeZone::UTC)
    }

    /// Every key of a language with the variables in its text.
    fn keys(language: Language) -> BTreeMap<String, BTreeSet<String>> {
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = String::new();
        for line in language.source.lines() {
            if let Some((key, _)) = line.split_once(" =").filter(|_| !line.starts_with([' ', '#', '-'])) {
                assert!(keys.insert(key.to_owned(), BTreeSet::new()).is_none(), "twice: {key}");
                current = key.to_owned();
            }
            for variable in line.split('$').skip(1) {
                let name = variable.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap();
                keys.get_mut(&current).unwrap().insert(name.to_owned());
            }
        }
        keys
    }

    #[test]
    fn all_languages_have_the_same_texts_with_the_same_values() {
        let english = keys(LANGUAGES[0]);
        assert!(english.len() > 200, "{}", english.len());
        for language in LANGUAGES {
            assert_eq!(keys(language), english, "{}", language.code);
            let resource = FluentResource::try_new(language.source.to_owned());
            assert!(resource.is_ok(), "{}: {:?}", language.code, resource.err().map(|(_, errors)| errors));
        }
    }

    #[test]
    fn no_text_is_the_same_in_both_languages_unless_it_should_be() {
        let same = [
            "saving-progress",
            "running-unsaved-disk",
            "leftover-per-disk",
            "window-title",
            "window-title-plain",
            "day-week",
            "day-date",
            "duration-hours",
            "about-version",
            "log-step-started",
            "page-log",
        ];
        let (english, german) = (words("en"), words("de"));
        for key in keys(LANGUAGES[0]).keys() {
            let raw = |words: &Words| {
                let pattern = words.bundle.get_message(key).unwrap().value().unwrap();
                format!("{pattern:?}")
            };
            assert!(raw(&english) != raw(&german) || same.contains(&key.as_str()), "not translated: {key}");
        }
    }

    /// Every text in quotes in the window's code that looks like a key, and the beginnings of keys that are put together.
    fn literals(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                literals(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            found.extend(code.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }

    #[test]
    fn every_key_in_the_code_has_a_text_and_every_text_is_used() {
        let mut found = BTreeSet::new();
        literals(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gui"), &mut found);
        let english = keys(LANGUAGES[0]);
        let families: BTreeSet<&str> = english.keys().filter_map(|key| key.split('-').next()).collect();
        let is_key = |text: &&String| {
            text.split_once('-').is_some_and(|(family, _)| families.contains(family))
                && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                && !text.ends_with('-')
        };
        for key in found.iter().filter(is_key) {
            assert!(english.contains_key(key), "no text has this key: {key}");
        }
        let is_used = |key: &str| {
            found.contains(key)
                || found.iter().any(|text| {
                    // `format!("weekday-{}", …)`: the part before the brace.
                    text.split_once('{').is_some_and(|(start, rest)| {
                        start.len() > 3
                            && key.starts_with(start)
                            && key.ends_with(rest.rsplit_once('}').map_or("", |(_, end)| end))
                    })
                })
        };
        let unused: Vec<&String> = english.keys().filter(|key| !is_used(key)).collect();
        assert!(unused.is_empty(), "nobody says: {unused:?}");
    }

    #[test]
    fn the_language_follows_the_wish_then_the_pc_then_is_english() {
        let code = |wish: Option<&str>, locales: &[&str]| {
            let locales: Vec<String> = locales.iter().map(|&locale| locale.to_owned()).collect();
            Words::new(wish, &locales).language().code
        };
        assert_eq!(code(Some("en"), &["de-DE"]), "en");
        assert_eq!(code(None, &["fr-FR", "de_AT.UTF-8", "en-GB"]), "de");
        assert_eq!(code(Some("tlh"), &["C"]), "en");
    }

    #[test]
    fn amounts_and_lengths_of_time_are_as_people_say_them() {
        let (english, german) = (words("en"), words("de"));
        assert_eq!(english.bytes(0), "0 B");
        assert_eq!(english.bytes(1 << 20), "1 MiB");
        assert_eq!(english.bytes(1_288_490_189), "1.2 GiB");
        assert_eq!(german.bytes(1_288_490_189), "1,2 GiB");
        assert_eq!(english.bytes(1023 << 20), "1 GiB");
        assert_eq!(english.bytes(u64::MAX), "16777216 TiB");
        assert_eq!(english.duration(1), "1 second");
        assert_eq!(german.duration(59), "59 Sekunden");
        assert_eq!(english.duration(120), "2 minutes");
        assert_eq!(english.duration(3 * 3600 + 65), "3 h 01 min");
    }

    #[test]
    fn moments_are_told_from_now() {
        let words = words("en");
        let now: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let told = |text: &str| words.moment(text.parse().unwrap(), now);
        assert_eq!(told("2026-11-25T08:05:00Z"), "today, 08:05");
        assert_eq!(told("2026-11-24T23:59:00Z"), "yesterday, 23:59");
        assert_eq!(told("2026-11-20T07:00:00Z"), "Friday, 07:00");
        assert_eq!(told("2026-11-03T07:00:00Z"), "2026-11-03, 07:00");
        assert_eq!(told("2026-12-01T07:00:00Z"), "2026-12-01, 07:00", "a clock that is wrong");
    }
}
