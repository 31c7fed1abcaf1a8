//! How Lambda runs a function, as people write it: `on-demand`, `provisioned-concurrency:2`, `snap-start`,
//! `managed-instances:4`.

use std::fmt;
use std::str::FromStr;

use sandbox::Mode;
use serde::{Deserialize, Serialize};

/// A mode, and how many sandboxes are made before anybody invokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Kind {
    pub(crate) mode: Mode,
    pub(crate) ahead: usize,
}

/// Invocations at a time of one managed instance when nobody says.
const CONCURRENCY: u16 = 8;

impl Default for Kind {
    fn default() -> Self {
        Self { mode: Mode::OnDemand, ahead: 1 }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => match number.parse::<u16>() {
                Ok(number @ 1..=1000) => (name, Some(number)),
                _ => return Err(format!("{number} is no number from 1 to 1000")),
            },
            None => (text, None),
        };
        let mode = match (name, number) {
            ("on-demand", None) => Mode::OnDemand,
            ("snap-start", None) => Mode::SnapStart,
            ("provisioned-concurrency", _) => Mode::ProvisionedConcurrency,
            ("managed-instances", _) => Mode::ManagedInstances { concurrency: number.unwrap_or(CONCURRENCY) },
            _ => {
                return Err("there is on-demand, provisioned-concurrency[:SANDBOXES], snap-start and \
                            managed-instances[:CONCURRENCY]"
                    .to_owned());
            }
        };
        let ahead = number.filter(|_| mode == Mode::ProvisionedConcurrency).unwrap_or(1);
        Ok(Self { mode, ahead: usize::from(ahead) })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::OnDemand => f.write_str("on-demand"),
            Mode::SnapStart => f.write_str("snap-start"),
            Mode::ProvisionedConcurrency => write!(f, "provisioned-concurrency:{}", self.ahead),
            Mode::ManagedInstances { concurrency } => write!(f, "managed-instances:{concurrency}"),
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn modes_are_read_as_they_are_written() {
        for text in ["on-demand", "snap-start", "provisioned-concurrency:3", "managed-instances:4"] {
            assert_eq!(text.parse::<Kind>().unwrap().to_string(), text);
        }
        let check = |text: &str, expect: &str| {
            let got = text.parse::<Kind>().map_or_else(|why| why, |kind| kind.to_string());
            assert!(got.contains(expect), "{text}: {got}");
        };
        check("provisioned-concurrency", "provisioned-concurrency:1");
        check("managed-instances", "managed-instances:8");
        check("managed-instances:0", "no number from 1 to 1000");
        check("snap-start:2", "there is on-demand");
        check("warm", "there is on-demand");
    }
}
