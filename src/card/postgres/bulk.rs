//! Many cards at once: imports in batches of rows, and every card for an export.
//!
//! A batch is one transaction, and refused as a whole when one of its cards is. The audit record of an import is
//! written by [`PostgresStore::note_import`], which whoever imports calls at its end, and at its failure. **Never
//! here:** parsing, PANs.

use std::collections::{BTreeMap, HashMap};

use futures_util::TryStreamExt;
use tokio_postgres::error::SqlState;

use crate::card::codec::{BulkNote, CodecError, decode_card, encode_card};
use crate::card::postgres::PostgresStore;
use crate::card::postgres::ask::sixteen;
use crate::card::postgres::connect::ConnectError;
use crate::card::postgres::work::Work;
use crate::card::{CardRecord, Receipt, StoreError};
use crate::limits::STORE_IMPORT_ROWS;

/// Why cards were not imported, or could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] ConnectError),
    /// Cards are there already.
    #[error("{0} of the cards are in the store already: allow replacing, or leave them out")]
    Exist(usize),
    /// An identity names another card.
    #[error("an identity names another card already ({index})")]
    IdentityTaken {
        /// The index that refused it.
        index: String,
    },
    /// More cards than one batch has.
    #[error("a batch has at most {STORE_IMPORT_ROWS} cards")]
    TooMany,
    /// The same card twice in one batch.
    #[error("a card is in the batch twice")]
    Twice,
    /// A card cannot be written or read.
    #[error("a card: {0}")]
    Codec(#[from] CodecError),
}

impl From<tokio_postgres::Error> for ImportError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(told) if *told.code() == SqlState::UNIQUE_VIOLATION => {
                let index = told.constraint().unwrap_or_default().to_owned();
                Self::IdentityTaken { index }
            }
            _ => Self::Database(error.into()),
        }
    }
}

const KNOWN: &str = "SELECT c.pan_hash, c.sequence, c.version
    FROM unnest($1::bytea[], $2::int2[]) AS w (pan_hash, sequence)
    JOIN card AS c ON c.pan_hash = w.pan_hash AND c.sequence = w.sequence
    ORDER BY c.pan_hash, c.sequence FOR UPDATE OF c";

const PUT: &str = "INSERT INTO card
        (pan_hash, sequence, version, card_id, pan_token, payment_instrument, body)
    SELECT * FROM unnest($1::bytea[], $2::int2[], $3::int8[], $4::text[], $5::text[], $6::text[], $7::bytea[])
    ON CONFLICT (pan_hash, sequence) DO UPDATE SET version = excluded.version, body = excluded.body,
        card_id = excluded.card_id, pan_token = excluded.pan_token,
        payment_instrument = excluded.payment_instrument";

impl PostgresStore {
    /// Puts at most [`STORE_IMPORT_ROWS`] cards. One that is there already gets the next version, if `replace`. Returns
    /// how many were there already.
    ///
    /// # Errors
    /// [`ImportError`]; then none of them was put.
    pub async fn import(&self, cards: &[CardRecord], replace: bool) -> Result<usize, ImportError> {
        if STORE_IMPORT_ROWS < cards.len() {
            return Err(ImportError::TooMany);
        }
        let sorted: BTreeMap<_, _> =
            cards.iter().map(|card| ((card.pan_hash.0, card.sequence), card)).collect();
        if sorted.len() != cards.len() {
            return Err(ImportError::Twice);
        }
        let mut session = self.connector.connect().await?;
        let change = session.client.transaction().await?;
        let hashes: Vec<&[u8]> = sorted.keys().map(|(hash, _)| &hash[..]).collect();
        let sequences: Vec<i16> = sorted.keys().map(|(_, s)| s.cast_signed()).collect();
        let mut versions = HashMap::new();
        for row in change.query(KNOWN, &[&hashes, &sequences]).await? {
            let key = (sixteen(&row, 0)?, row.try_get::<_, i16>(1)?.cast_unsigned());
            versions.insert(key, row.try_get::<_, i64>(2)?);
        }
        if !versions.is_empty() && !replace {
            return Err(ImportError::Exist(versions.len()));
        }
        let (mut bodies, mut numbers) = (Vec::new(), Vec::new());
        let (mut ids, mut tokens, mut instruments) = (Vec::new(), Vec::new(), Vec::new());
        for (key, card) in &sorted {
            let known = versions.get(key).and_then(|version| u32::try_from(*version).ok());
            let version = known.map_or(card.version, |known| known.wrapping_add(1));
            let mut body = Vec::new();
            encode_card(&mut body, &CardRecord { version, ..(*card).clone() })?;
            bodies.push(body);
            numbers.push(i64::from(version));
            let identities = card.identities.as_deref();
            ids.push(identities.and_then(|i| i.card_id.as_deref()));
            tokens.push(identities.and_then(|i| i.pan_token.as_deref()));
            instruments.push(identities.and_then(|i| i.payment_instrument.as_deref()));
        }
        change
            .execute(PUT, &[&hashes, &sequences, &numbers, &ids, &tokens, &instruments, &bodies])
            .await?;
        change.commit().await?;
        Ok(versions.len())
    }

    /// Writes the audit record of an import: a file's name or the like, never a PAN; and whether it came to its end.
    ///
    /// # Errors
    /// As [`crate::card::Store::note`].
    pub async fn note_import(
        &self,
        source: &str,
        cards: u64,
        complete: bool,
    ) -> Result<Receipt, StoreError> {
        let (at, source) = (self.clock.wall(), source.into());
        self.told(|answer| Work::Bulk { at, note: BulkNote { complete, cards, source }, answer })
            .await
    }

    /// Visits every card, in the order of their hashes, as they are at one moment.
    ///
    /// # Errors
    /// [`ImportError`], also for a card that cannot be read.
    pub async fn each_card(
        &self,
        mut visit: impl FnMut(&CardRecord) + Send,
    ) -> Result<(), ImportError> {
        let session = self.connector.connect().await?;
        let all = "SELECT version, body FROM card ORDER BY pan_hash, sequence";
        let none: [i64; 0] = [];
        let rows = session.client.query_raw(all, none).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            let version: i64 = row.try_get(0)?;
            let card = decode_card(row.try_get(1)?)?;
            visit(&CardRecord { version: u32::try_from(version).unwrap_or(card.version), ..card });
        }
        Ok(())
    }

    /// How many cards there are, counted one by one.
    ///
    /// # Errors
    /// [`ImportError::Database`].
    pub async fn count_cards(&self) -> Result<u64, ImportError> {
        let session = self.connector.connect().await?;
        let row = session.client.query_one("SELECT count(*) FROM card", &[]).await?;
        Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
    }
}
