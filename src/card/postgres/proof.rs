//! Whether the database was made with our keys: a hash and a sealed number that no issuer has.
//!
//! The first switch that connects leaves them; a switch with another key file is refused, before it would find no card
//! and write what nobody else can read. **Never here:** a key.

use tokio_postgres::Client;

use crate::card::postgres::connect::ConnectError;
use crate::domain::pan::{Pan, SealedPan};
use crate::domain::vault::Vault;

/// The number.
const PROBE: &[u8] = b"0000000000000";

pub(super) async fn check(client: &Client, vault: &dyn Vault) -> Result<(), ConnectError> {
    let pan = Pan::parse(PROBE).map_err(|_| ConnectError::OtherKeys)?;
    let mut keyed = vault.chain(&[0; 32], b"pinion store").to_vec();
    keyed.extend_from_slice(&vault.pan_hash(&pan).0);
    let mut new = keyed.clone();
    new.extend_from_slice(&vault.seal_pan(&pan)?.0);
    let put = "INSERT INTO meta (name, value) VALUES ('vault', $1) ON CONFLICT (name) DO NOTHING";
    client.execute(put, &[&new]).await?;
    let row = client.query_one("SELECT value FROM meta WHERE name = 'vault'", &[]).await?;
    let stored: &[u8] = row.try_get(0)?;
    let same = stored.split_last_chunk::<{ SealedPan::BYTES }>().is_some_and(|(hashed, sealed)| {
        hashed == keyed && vault.open_pan(&SealedPan(*sealed)).is_ok_and(|opened| opened == pan)
    });
    if same { Ok(()) } else { Err(ConnectError::OtherKeys) }
}
