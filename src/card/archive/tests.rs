//! An archive that was changed, or is another's, is refused before anything is written.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::card::Store as _;
use crate::card::embedded::EmbeddedStore;
use crate::card::embedded::tests::{TestVault, card, options};

/// A store with three cards, as an archive.
fn archive(dir: &Path) -> Manifest {
    let vault = Arc::new(TestVault(7));
    let mut store = EmbeddedStore::open(&dir.join("store"), vault, options()).unwrap();
    let mut bulk = store.bulk("three").unwrap();
    for number in 1..=3 {
        bulk.put(card(number, 0), false).unwrap();
    }
    bulk.finish().unwrap();
    assert_eq!(store.last_stan(), None);
    let mut to = ArchiveWriter::create(&dir.join("archive"), WallMillis(0)).unwrap();
    store.export(&mut to).unwrap();
    to.finish(&TestVault(7), "embedded").unwrap()
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = archive(dir.path());
    let read = Archive::open(&dir.path().join("archive"), &TestVault(7)).unwrap();
    assert_eq!(read.manifest(), &manifest);
    assert_eq!((manifest.parts[&Part::Cards].count, manifest.parts[&Part::Journal].count), (3, 1));
    let mut numbers: Vec<_> = read.cards().unwrap().map(|card| card.unwrap().pan_hash).collect();
    numbers.sort_by_key(|hash| hash.0);
    let mut want: Vec<_> = (1..=3).map(|number| card(number, 0).pan_hash).collect();
    want.sort_by_key(|hash| hash.0);
    assert_eq!(numbers, want);
    let again = ArchiveWriter::create(&dir.path().join("archive"), WallMillis(0));
    assert!(matches!(again, Err(ArchiveError::NotEmpty { .. })));
}

#[test]
fn a_changed_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path());
    let place = dir.path().join("archive");
    let other = Archive::open(&place, &TestVault(8));
    assert!(matches!(other, Err(ArchiveError::OtherKeys)), "{other:?}");
    for part in Part::ALL {
        let file = place.join(part.file());
        let good = std::fs::read(&file).unwrap();
        for bad in [[&good[..], b"00\n"].concat(), good.iter().skip(2).copied().collect()] {
            if bad == good {
                continue;
            }
            std::fs::write(&file, &bad).unwrap();
            let refused = Archive::open(&place, &TestVault(7));
            assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "{part:?}: {refused:?}");
        }
        std::fs::write(&file, &good).unwrap();
    }
    Archive::open(&place, &TestVault(7)).unwrap();
    std::fs::remove_file(place.join(MANIFEST)).unwrap();
    assert!(matches!(Archive::open(&place, &TestVault(7)), Err(ArchiveError::Io { .. })));
}

/// A directory whose import did not end is no store.
#[test]
fn half_an_import_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    archive(dir.path());
    let into = dir.path().join("into");
    let vault: Arc<dyn Vault> = Arc::new(TestVault(7));
    let read = Archive::open(&dir.path().join("archive"), &*vault).unwrap();
    EmbeddedStore::import(&into, &vault, &options(), &read).unwrap();
    assert_eq!(EmbeddedStore::open(&into, vault.clone(), options()).unwrap().status().cards, 3);
    let again = EmbeddedStore::import(&into, &vault, &options(), &read);
    assert!(matches!(again, Err(ArchiveError::NotEmpty { .. })));
    std::fs::write(into.join("importing"), "").unwrap();
    let half = EmbeddedStore::open(&into, vault, options());
    assert!(half.is_err_and(|error| error.to_string().contains("import again")));
}
