//! What each switch says of itself, so that others can be compared with it. **Never here:** what it says.

use crate::card::postgres::PostgresStore;
use crate::card::postgres::connect::ConnectError;

/// Begins the names of these facts; the node's number follows.
pub(super) const SWITCH: &str = "switch ";

impl PostgresStore {
    /// Leaves what this switch says of itself.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn leave_facts(&self, facts: &[u8]) -> Result<(), ConnectError> {
        let session = self.connector.connect().await?;
        let put = "INSERT INTO meta (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let name = format!("{SWITCH}{}", self.shared.node);
        session.client.execute(put, &[&name, &facts]).await?;
        Ok(())
    }

    /// What each switch left at its last start, by its number.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn facts(&self) -> Result<Vec<(u16, Vec<u8>)>, ConnectError> {
        let session = self.connector.connect().await?;
        let all = "SELECT name, value FROM meta WHERE starts_with(name, $1) ORDER BY name";
        let mut facts = Vec::new();
        for row in session.client.query(all, &[&SWITCH]).await? {
            let name: &str = row.try_get(0)?;
            if let Some(node) = name.strip_prefix(SWITCH).and_then(|node| node.parse().ok()) {
                facts.push((node, row.try_get(1)?));
            }
        }
        Ok(facts)
    }
}
