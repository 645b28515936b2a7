//! Gauges of the ends of certificates, of every file of certificates that the configuration names.
//!
//! Told when the files are read: all at the start, those of links and doors again by a reload. Devices and the database
//! keep what they were started with. **Never here:** a byte of a certificate.

use std::path::Path;

use arc_swap::ArcSwap;
use metrics::Gauge;

use crate::ops::config::Config;
use crate::tls;

/// The gauges of links and doors that were told last.
#[derive(Default)]
pub(super) struct Certificates {
    served: ArcSwap<Vec<Told>>,
}

/// One gauge.
struct Told {
    place: Place,
    gauge: Gauge,
}

/// Where a file is named.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    used: &'static str,
    name: String,
    /// The key that names it.
    file: &'static str,
}

impl Certificates {
    /// At the start.
    pub(super) fn tell(&self, config: &Config) {
        for (place, path) in dialled(config) {
            tell(place, path);
        }
        self.tell_again(config);
    }

    /// After a reload. What is not there any more has no end.
    pub(super) fn tell_again(&self, config: &Config) {
        let told: Vec<_> =
            served(config).into_iter().map(|(place, path)| tell(place, path)).collect();
        let is_there = |place: &Place| told.iter().any(|told| told.place == *place);
        for old in self.served.load().iter().filter(|old| !is_there(&old.place)) {
            old.gauge.set(f64::NAN);
        }
        self.served.store(told.into());
    }
}

/// Certificates of listeners, and the authorities of their clients.
fn served(config: &Config) -> Vec<(Place, &Path)> {
    let links = config.links.iter().map(|link| ("link", &link.name, link.tls.as_ref()));
    let links = links.filter_map(|(used, name, tls)| Some((used, name.clone(), tls?)));
    let doors = config.http.iter().filter_map(|http| http.tls.as_ref());
    let doors = doors.map(|tls| ("http", "http".to_owned(), tls));
    links
        .chain(doors)
        .flat_map(|(used, name, tls)| {
            let file = |file, path| (Place { used, name: name.clone(), file }, path);
            let own = file("certificate", &*tls.certificate);
            let clients = tls.client_ca.as_deref().map(|path| file("client_ca", path));
            [Some(own), clients]
        })
        .flatten()
        .collect()
}

/// Authorities of servers, and the certificates that we show them.
fn dialled(config: &Config) -> Vec<(Place, &Path)> {
    let devices = config.hsm.devices.iter().filter_map(|device| {
        let tls = device.tls.as_ref()?;
        Some(("hsm", device.name.clone(), &tls.ca, tls.certificate.as_ref()))
    });
    let database = config.store.postgres.iter().filter_map(|postgres| {
        let tls = postgres.tls.as_ref()?;
        Some(("store", "postgres".to_owned(), &tls.ca, tls.certificate.as_ref()))
    });
    devices
        .chain(database)
        .flat_map(|(used, name, ca, certificate)| {
            let file = |file, path| (Place { used, name: name.clone(), file }, path);
            let own = certificate.map(|path| file("certificate", &**path));
            [Some(file("ca", &**ca)), own]
        })
        .flatten()
        .collect()
}

/// Sets the gauge. A file that cannot be read a moment after it was has no end, and the log says why.
fn tell(place: Place, path: &Path) -> Told {
    let Place { used, name, file } = place.clone();
    let gauge = metrics::gauge!(
        "pinion_certificate_expires_seconds", "use" => used, "name" => name, "file" => file
    );
    let end = tls::first_end(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "when a certificate ends is not known");
        None
    });
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    gauge.set(end.map_or(f64::NAN, |end| end as f64));
    Told { place, gauge }
}
