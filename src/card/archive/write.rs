//! Writing an archive, or only counting what it would hold. **Never here:** which store it comes from.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::card::archive::{
    ArchiveError, Chain, FORMAT, Known, Line, MANIFEST, Manifest, Part, Summary, Tally,
    card_content, proof, unsettled_content,
};
use crate::card::{CardRecord, Unsettled, codec};
use crate::domain::clock::WallMillis;
use crate::domain::vault::Vault;

/// Takes the parts of a store.
#[derive(Debug)]
pub struct ArchiveWriter {
    place: Option<PathBuf>,
    parts: BTreeMap<Part, PartWriter>,
    chains: Vec<Chain>,
    since: WallMillis,
}

#[derive(Debug)]
struct PartWriter {
    file: Option<(PathBuf, BufWriter<File>)>,
    digest: Sha256,
    tally: Tally,
}

impl PartWriter {
    fn line(&mut self, bytes: &[u8], content: &[u8]) -> Result<(), ArchiveError> {
        self.tally.add(content);
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let line = format!("{}\n", hex::encode(bytes));
        self.digest.update(line.as_bytes());
        let failed = |source| ArchiveError::Io { file: path.clone(), source };
        file.write_all(line.as_bytes()).map_err(failed)
    }
}

impl ArchiveWriter {
    /// Makes the directory, which must not be there or be empty. Keys answered before `since` are left out.
    ///
    /// # Errors
    /// [`ArchiveError::NotEmpty`], and what the system says.
    pub fn create(place: &Path, since: WallMillis) -> Result<Self, ArchiveError> {
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| ArchiveError::Io { file, source }
        };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(place);
        made.map_err(failed(place))?;
        if std::fs::read_dir(place).map_err(failed(place))?.next().is_some() {
            return Err(ArchiveError::NotEmpty { place: place.display().to_string() });
        }
        let mut writer = Self::counting(since);
        for (part, into) in &mut writer.parts {
            let path = place.join(part.file());
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let file = file.map_err(failed(&path))?;
            into.file = Some((path, BufWriter::new(file)));
        }
        writer.place = Some(place.to_owned());
        Ok(writer)
    }

    /// Writes nothing: counts and digests alone.
    pub(crate) fn counting(since: WallMillis) -> Self {
        let part = || PartWriter { file: None, digest: Sha256::new(), tally: Tally::default() };
        let parts = Part::ALL.into_iter().map(|name| (name, part())).collect();
        Self { place: None, parts, chains: Vec::new(), since }
    }

    /// Keys answered before this are left out.
    pub(crate) fn since(&self) -> WallMillis {
        self.since
    }

    fn line(&mut self, part: Part, bytes: &[u8], content: &[u8]) -> Result<(), ArchiveError> {
        match self.parts.get_mut(&part) {
            Some(part) => part.line(bytes, content),
            None => Ok(()),
        }
    }

    pub(crate) fn card(&mut self, card: &CardRecord) -> Result<(), ArchiveError> {
        let bytes = card_content(card)?;
        self.line(Part::Cards, &bytes, &bytes)
    }

    pub(crate) fn known(&mut self, known: &Known) -> Result<(), ArchiveError> {
        self.line(Part::Transactions, &known.encode(), &known.content())
    }

    /// The next in the order of sending.
    pub(crate) fn unsettled(&mut self, change: &Unsettled) -> Result<(), ArchiveError> {
        let mut bytes = Vec::with_capacity(256);
        codec::encode_open(&mut bytes, change)?;
        let content = unsettled_content(change)?;
        self.line(Part::Unsettled, &bytes, &content)
    }

    /// The next of its node.
    pub(crate) fn record(
        &mut self,
        node: u16,
        position: u64,
        record: &[u8],
    ) -> Result<(), ArchiveError> {
        let bytes = Line { node, position, record: record.to_vec() }.encode();
        self.line(Part::Journal, &bytes, &bytes)
    }

    pub(crate) fn chain(&mut self, chain: Chain) {
        self.chains.push(chain);
    }

    /// Whether what was counted is what `wanted` says.
    pub(crate) fn check(&self, wanted: &Manifest, parts: &[Part]) -> Result<(), ArchiveError> {
        for part in parts {
            let (Some(found), Some(wanted)) = (self.parts.get(part), wanted.parts.get(part)) else {
                continue;
            };
            if found.tally.count != wanted.count || found.tally.content() != wanted.content {
                let (found, wanted) = (found.tally.count, wanted.count);
                return Err(ArchiveError::Differs { part: *part, found, wanted });
            }
        }
        Ok(())
    }

    /// Makes everything durable and writes the manifest. `store` is the family it was.
    pub(crate) fn finish(self, vault: &dyn Vault, store: &str) -> Result<Manifest, ArchiveError> {
        let mut parts = BTreeMap::new();
        for (name, part) in self.parts {
            if let Some((path, file)) = part.file {
                let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
                let synced = file.and_then(|file| file.sync_all());
                synced.map_err(|source| ArchiveError::Io { file: path, source })?;
            }
            let (count, content) = (part.tally.count, part.tally.content());
            let sha256 = hex::encode(part.digest.finalize());
            parts.insert(name, Summary { count, sha256, content });
        }
        let manifest = Manifest {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            store: store.to_owned(),
            since: self.since.0,
            keys: proof(vault),
            parts,
            chains: self.chains,
        };
        if let Some(place) = &self.place {
            let path = place.join(MANIFEST);
            let failed = |source| ArchiveError::Io { file: path.clone(), source };
            let text = serde_json::to_vec_pretty(&manifest)
                .map_err(|error| failed(std::io::Error::other(error)))?;
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let mut file = file.map_err(failed)?;
            file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
            File::open(place).and_then(|place| place.sync_all()).map_err(failed)?;
        }
        Ok(manifest)
    }
}

impl Line {
    fn encode(&self) -> Vec<u8> {
        let (node, position) = (self.node.to_le_bytes(), self.position.to_le_bytes());
        [&node[..], &position[..], &self.record[..]].concat()
    }
}
