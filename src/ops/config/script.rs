//! `[product.issuer_script]`: what tells a product's chips of a new PIN, checked into an [`IssuerScript`].
//!
//! **Never here:** keys. Their names are resolved when the runtime is built.

use serde::Deserialize;

use crate::domain::chip::ScriptTemplate;
use crate::ops::config::source::{ConfigError, Source};

/// The table, with the names of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerScript {
    /// Whose rules the chips follow.
    pub scheme: IssuerScriptScheme,
    /// Name of the MK-SMI.
    pub integrity: String,
    /// Name of the MK-SMC.
    pub confidentiality: String,
    /// Which template the command travels in.
    pub template: ScriptTemplate,
    /// A request without chip data is refused.
    pub required: bool,
}

impl IssuerScript {
    /// Names of its keys, each with its option.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let cryptograms = match &self.scheme {
            IssuerScriptScheme::EmvCommon | IssuerScriptScheme::Mastercard => None,
            IssuerScriptScheme::Visa { cryptograms } => Some(("cryptograms", &**cryptograms)),
        };
        [("integrity", &*self.integrity), ("confidentiality", &*self.confidentiality)]
            .into_iter()
            .chain(cryptograms)
    }
}

/// Whose rules the chips follow, with what only those need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuerScriptScheme {
    /// EMV common session keys.
    EmvCommon,
    /// Mastercard M/Chip.
    Mastercard,
    /// Visa VIS.
    Visa {
        /// Name of the MK-AC.
        cryptograms: String,
    },
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    scheme: Name,
    integrity: String,
    confidentiality: String,
    cryptograms: Option<String>,
    #[serde(default = "after_final")]
    template: u8,
    #[serde(default)]
    required: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    EmvCommon,
    Mastercard,
    Visa,
}

impl Text {
    /// Checks the table at `at` (`product[0].issuer_script`).
    pub(super) fn check(
        self,
        chip: bool,
        source: &Source,
        at: &str,
    ) -> Result<IssuerScript, ConfigError> {
        if !chip {
            let reason = "only with chip = true: another card has nothing that takes a script";
            return Err(source.error(at, reason));
        }
        let cryptograms = || format!("{at}.cryptograms");
        let scheme = match (self.scheme, self.cryptograms) {
            (Name::Visa, Some(cryptograms)) => IssuerScriptScheme::Visa { cryptograms },
            (Name::Visa, None) => {
                let reason = "missing: the PIN block of visa is made with a key below an MK-AC";
                return Err(source.error(&cryptograms(), reason));
            }
            (Name::EmvCommon | Name::Mastercard, Some(_)) => {
                return Err(
                    source.error(&cryptograms(), "has a meaning with scheme = \"visa\" only")
                );
            }
            (Name::EmvCommon, None) => IssuerScriptScheme::EmvCommon,
            (Name::Mastercard, None) => IssuerScriptScheme::Mastercard,
        };
        let template = match self.template {
            71 => ScriptTemplate::BeforeFinal,
            72 => ScriptTemplate::AfterFinal,
            _ => return Err(source.error(&format!("{at}.template"), "71 or 72")),
        };
        let Self { integrity, confidentiality, required, .. } = self;
        Ok(IssuerScript { scheme, integrity, confidentiality, template, required })
    }
}

fn after_final() -> u8 {
    72
}
