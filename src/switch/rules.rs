//! [`Rules`]: what an operator may change while the switch runs, as one snapshot.

use crate::card::product::Products;
use crate::route::Table;

/// Products and routes. A reload replaces all of it at once; a request sees one snapshot from start to end.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Card products.
    pub products: Products,
    /// Routes.
    pub routes: Table,
}
