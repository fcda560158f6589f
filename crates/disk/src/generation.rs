//! Generation ids: a random name for one state of a base.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of one generation of a base: 128 random bits (a version 4 UUID).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenerationId(Uuid);

impl GenerationId {
    /// A name that nothing had before.
    pub fn random() -> Self {
        GenerationId(Uuid::new_v4())
    }

    /// From its stored bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        GenerationId(Uuid::from_bytes(bytes))
    }

    /// The bytes to store.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GenerationId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(GenerationId)
    }
}

/// What a base's header says about who wrote to it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum BaseState {
    /// It never had a generation.
    Fresh,
    /// It is at this generation, and nobody else has written to it.
    At {
        /// Its name.
        generation: GenerationId,
    },
    /// Another program wrote to it after this generation.
    Foreign {
        /// The last generation of ours.
        last: GenerationId,
    },
}

impl BaseState {
    /// The generation the base is at; none if it is fresh or another program wrote to it.
    pub fn generation(self) -> Option<GenerationId> {
        match self {
            BaseState::At { generation } => Some(generation),
            BaseState::Fresh | BaseState::Foreign { .. } => None,
        }
    }
}

impl fmt::Display for BaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BaseState::Fresh => f.write_str("no generation"),
            BaseState::At { generation } => write!(f, "generation {generation}"),
            BaseState::Foreign { last } => write!(f, "a foreign state after {last}"),
        }
    }
}
