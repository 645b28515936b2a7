//! [`Product`]: the rules cards of one kind share. Read from the configuration, replaced whole on reload.

use std::collections::HashMap;
use std::sync::Arc;

use crate::card::record::ProductKey;
use crate::domain::chip::ScriptRules;
use crate::domain::pin::{Method, PinRules};

/// Rules of one card product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its configured name.
    pub name: Box<str>,
    /// Organization and logo.
    pub key: ProductKey,
    /// Digits its card numbers begin with.
    pub bin: Box<str>,
    /// Has a chip: refused through web and voice, where no issuer script can be delivered.
    pub chip: bool,
    /// The script that tells its chips of a change. Only with [`Product::chip`].
    pub issuer_script: Option<ScriptRules>,
    /// How references are made.
    pub method: Method,
    /// What a new PIN must be.
    pub rules: PinRules,
    /// Wrong PINs in a row before [`crate::domain::outcome::Reason::TriesExceeded`].
    pub tries_max: u8,
    /// Changes a day, or no bound.
    pub changes_per_day_max: Option<u8>,
    /// PINs may be set without the current one, by clients with that right.
    pub allow_set: bool,
    /// Keeps a PIN that can be revealed. Only with [`Method::LmkPin`].
    pub recoverable: bool,
}

/// All products, found by what a card record names.
#[derive(Clone, Debug, Default)]
pub struct Products {
    by_key: HashMap<ProductKey, Arc<Product>>,
}

impl Products {
    /// Collects products. A later one with the same organization and logo replaces an earlier one; configuration
    /// refuses that case before it gets here.
    #[must_use]
    pub fn new(products: impl IntoIterator<Item = Product>) -> Self {
        Self { by_key: products.into_iter().map(|p| (p.key, Arc::new(p))).collect() }
    }

    /// The product of a card.
    #[must_use]
    pub fn get(&self, key: ProductKey) -> Option<&Arc<Product>> {
        self.by_key.get(&key)
    }

    /// The product of that name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Product>> {
        self.by_key.values().find(|p| &*p.name == name)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Product>> {
        self.by_key.values()
    }
}
