//! [`Owner`]: what a card's record must agree with before anything is done for a request.
//!
//! A client names a card and who it belongs to, and may be limited to organizations or numbers of its own. A record
//! that disagrees is a card unknown: who asks learns nothing of other people's cards. **Never here:** the record
//! (`card`), who a client is (`http`).

use std::fmt;
use std::sync::Arc;

use crate::domain::pan::Pan;

/// What a record must agree with. Everything absent agrees.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The owner's id at a partner.
    pub external_user_id: Option<Box<str>>,
    /// The owner's account.
    pub account_id: Option<Box<str>>,
    /// The owner as a person.
    pub person_id: Option<Box<str>>,
    /// The organization the request names.
    pub organization: Option<u16>,
    /// What the client is limited to: one for all its requests.
    pub limits: Option<Arc<ClientLimits>>,
}

/// Cards a client may name. An absent list is no limit, an empty one allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Organizations.
    pub organizations: Option<Box<[u16]>>,
    /// Digits that numbers begin with.
    pub bins: Option<Box<[Box<str>]>>,
}

impl Owner {
    /// Whether it names the owner by an id of the card's record, which a card without a record cannot agree with.
    #[must_use]
    pub fn names_a_person(&self) -> bool {
        self.external_user_id.is_some() || self.account_id.is_some() || self.person_id.is_some()
    }

    /// Whether cards of this organization may be named; `None` where a card's organization is not known.
    #[must_use]
    pub fn allows_organization(&self, organization: Option<u16>) -> bool {
        let listed = self.limits.as_ref().and_then(|limits| limits.organizations.as_ref());
        match organization {
            Some(organization) => {
                self.organization.is_none_or(|named| named == organization)
                    && listed.is_none_or(|listed| listed.contains(&organization))
            }
            None => self.organization.is_none() && listed.is_none(),
        }
    }

    /// Whether cards with this number may be named.
    #[must_use]
    pub fn allows_pan(&self, pan: &Pan) -> bool {
        let bins = self.limits.as_ref().and_then(|limits| limits.bins.as_ref());
        let digits = pan.expose_digits();
        bins.is_none_or(|bins| bins.iter().any(|bin| digits.starts_with(bin.as_bytes())))
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids of people are not for logs.
        f.debug_struct("Owner")
            .field("organization", &self.organization)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_agrees_and_what_is_empty_allows_nothing() {
        let pan = Pan::parse(b"4761739001010010").unwrap();
        let with = |organizations: Option<&[u16]>, bins: Option<&[&str]>| Owner {
            limits: Some(Arc::new(ClientLimits {
                organizations: organizations.map(Into::into),
                bins: bins.map(|bins| bins.iter().map(|bin| Box::from(*bin)).collect()),
            })),
            ..Owner::default()
        };
        for (owner, organization, number) in [
            (Owner::default(), true, true),
            (with(None, None), true, true),
            (with(Some(&[600]), Some(&["476173"])), true, true),
            (with(Some(&[601]), Some(&["541333", "4761739"])), false, true),
            (with(Some(&[]), Some(&[])), false, false),
            (Owner { organization: Some(600), ..with(Some(&[600, 602]), None) }, true, true),
            (Owner { organization: Some(602), ..with(Some(&[600, 602]), None) }, false, true),
        ] {
            assert_eq!(owner.allows_organization(Some(600)), organization, "{owner:?}");
            assert_eq!(owner.allows_pan(&pan), number, "{owner:?}");
        }
        assert!(with(None, None).allows_organization(None));
        assert!(!with(Some(&[600]), None).allows_organization(None));
    }

    #[test]
    fn debug_shows_no_id_of_a_person() {
        let owner = Owner { person_id: Some("p-77".into()), ..Owner::default() };
        assert!(owner.names_a_person());
        assert!(!format!("{owner:?}").contains("77"));
    }
}
