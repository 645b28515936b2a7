//! [`Names`]: what belongs to the keys of one moment, found by id, and ids by name. Both families keep their keys so.
//!
//! A name keeps its id for the life of the process. **Never here:** a key, a file.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::clock::WallMillis;
use crate::domain::pin::KeyId;
use crate::hsm::HsmError;
use crate::limits::{KEY_LEAVES_MS, KEYS_MAX};

/// The place of an id.
#[derive(Debug)]
enum Place<T> {
    Empty,
    Held(Arc<T>),
    /// A reload did not find it any more. Requests that were under way then name it by its id, and those of
    /// connections that have not read their new settings yet. It goes with the first reload after this time.
    Leaving(Arc<T>, WallMillis),
}

/// Keys by id and by name.
#[derive(Debug)]
pub(in crate::hsm) struct Names<T> {
    // The index is the key's id.
    places: Vec<Place<T>>,
    ids: Arc<HashMap<Arc<str>, KeyId>>,
}

/// Why a key has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::hsm) enum NoPlace {
    /// More keys than [`KEYS_MAX`].
    TooMany,
    /// Another key has the name.
    Twice,
}

impl<T> Names<T> {
    /// What is left of these when nothing is found any more: ids, and for a while what was there.
    pub(in crate::hsm) fn left(&self, now: WallMillis) -> Self {
        let places = self.places.iter().map(|place| place.left(now)).collect();
        Self { places, ids: Arc::clone(&self.ids) }
    }

    /// Gives a name its place. `make` gets what was there before.
    pub(in crate::hsm) fn put(
        &mut self,
        name: &str,
        make: impl FnOnce(Option<&T>) -> T,
    ) -> Result<(), NoPlace> {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => self.grow(name)?,
        };
        let place = self.places.get_mut(usize::from(id.0)).ok_or(NoPlace::TooMany)?;
        let before = match place {
            Place::Empty => None,
            Place::Leaving(before, _) => Some(&**before),
            Place::Held(_) => return Err(NoPlace::Twice),
        };
        *place = Place::Held(Arc::new(make(before)));
        Ok(())
    }

    fn grow(&mut self, name: &str) -> Result<KeyId, NoPlace> {
        let next = self.places.len();
        let id = u16::try_from(next).ok().filter(|_| next < KEYS_MAX).map(KeyId);
        let id = id.ok_or(NoPlace::TooMany)?;
        self.places.push(Place::Empty);
        Arc::make_mut(&mut self.ids).insert(name.into(), id);
        Ok(id)
    }

    /// The same with another in one place, if that is held.
    pub(in crate::hsm) fn with(&self, id: KeyId, other: T) -> Self {
        let mut next = Self { places: self.places.clone(), ids: Arc::clone(&self.ids) };
        if let Some(place @ Place::Held(_)) = next.places.get_mut(usize::from(id.0)) {
            *place = Place::Held(Arc::new(other));
        }
        next
    }

    /// The id of a name that is held.
    pub(in crate::hsm) fn id(&self, name: &str) -> Option<KeyId> {
        let id = *self.ids.get(name)?;
        matches!(self.places.get(usize::from(id.0)), Some(Place::Held(_))).then_some(id)
    }

    /// Everything held, with its id.
    pub(in crate::hsm) fn iter(&self) -> impl Iterator<Item = (KeyId, &Arc<T>)> {
        (0..).map(KeyId).zip(&self.places).filter_map(|(id, place)| match place {
            Place::Held(held) => Some((id, held)),
            Place::Leaving(..) | Place::Empty => None,
        })
    }

    /// What has the id, leaving or not.
    ///
    /// # Errors
    /// [`HsmError::KeyUnknown`].
    pub(in crate::hsm) fn get(&self, id: KeyId) -> Result<&Arc<T>, HsmError> {
        match self.places.get(usize::from(id.0)) {
            Some(Place::Held(held) | Place::Leaving(held, _)) => Ok(held),
            Some(Place::Empty) | None => Err(HsmError::KeyUnknown),
        }
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { places: Vec::new(), ids: Arc::default() }
    }
}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Held(held) => Self::Held(Arc::clone(held)),
            Self::Leaving(held, until) => Self::Leaving(Arc::clone(held), *until),
        }
    }
}

impl<T> Place<T> {
    /// As it is after a reload that did not find the key.
    fn left(&self, now: WallMillis) -> Self {
        match self {
            Self::Held(held) => {
                let until = now.0.saturating_add(KEY_LEAVES_MS);
                Self::Leaving(Arc::clone(held), WallMillis(until))
            }
            Self::Leaving(_, until) if now < *until => self.clone(),
            Self::Leaving(..) | Self::Empty => Self::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(before: &Names<u32>, names: &[&str], now: u64) -> Names<u32> {
        let mut names_now = before.left(WallMillis(now));
        for name in names {
            names_now.put(name, |before| before.map_or(1, |times| times + 1)).unwrap();
        }
        names_now
    }

    /// Once a key was forgotten by the reload that did not name it: for a second connections with their old settings
    /// answered 88.
    #[test]
    fn a_key_that_goes_leaves_after_a_while() {
        let both = next(&Names::default(), &["a", "b"], 0);
        let id = both.id("a").unwrap();
        let mut names = next(&both, &["b"], 1000);
        for now in [1000, 1001, 1000 + KEY_LEAVES_MS - 1] {
            names = next(&names, &["b"], now);
            assert!(names.get(id).is_ok() && names.id("a").is_none(), "{now}");
            assert_eq!(names.iter().count(), 1, "{now}");
        }
        let back = next(&names, &["a", "b"], 2000);
        assert_eq!((back.id("a"), **back.get(id).unwrap()), (Some(id), 2), "it is the same key");
        names = next(&names, &["b"], 1000 + KEY_LEAVES_MS);
        assert_eq!(names.get(id).err(), Some(HsmError::KeyUnknown));
    }

    #[test]
    fn a_name_has_one_place_and_places_are_bounded() {
        let mut names = next(&Names::default(), &["a"], 0);
        assert_eq!(names.put("a", |_| 9), Err(NoPlace::Twice));
        for n in 1..KEYS_MAX {
            names.put(&n.to_string(), |_| 1).unwrap();
        }
        assert_eq!(names.put("one more", |_| 1), Err(NoPlace::TooMany));
        assert_eq!(names.iter().count(), KEYS_MAX);
    }
}
