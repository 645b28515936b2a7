//! What can be wrong with a database: who may connect to it, who holds its tables, a network that stands still.
//!
//! **Never here:** what a switch is asked.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::postgres::Cluster;
use super::{eventually, poll};

/// The role that shows a certificate, over TLS only.
pub(crate) const CERTIFIED: &str = "certified";
/// The role that has a password.
pub(crate) const SECRETIVE: &str = "secretive";

/// One cluster for tests that do not stop it; each has a database of its own.
pub(crate) static GUARDED: LazyLock<Cluster> = LazyLock::new(|| {
    let cluster = Cluster::start(&["ssl_ca_file=clients.pem"]);
    let rules = format!(
        "hostssl all {CERTIFIED} 127.0.0.1/32 cert\n\
         host all {SECRETIVE} 127.0.0.1/32 scram-sha-256\n\
         host all pinion 127.0.0.1/32 trust\n"
    );
    cluster.write("pg_hba.conf", &rules);
    cluster.reload();
    for role in [CERTIFIED, SECRETIVE] {
        cluster.psql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    }
    cluster
});

/// Makes a database that belongs to a role.
pub(crate) fn make(cluster: &Cluster, name: &str, owner: &str) {
    cluster.psql("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"));
}

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new([]).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    /// Of a server with this name, or of a client that is called so.
    pub(crate) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("a name");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// A table that another session holds until this is dropped.
pub(crate) struct Held {
    session: Child,
}

impl Held {
    /// Takes the table for itself alone: nobody else may even read it.
    #[track_caller]
    pub(crate) fn take(cluster: &Cluster, database: &str, table: &str) -> Self {
        let statement = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        let session = cluster.session(database, &statement);
        let count = format!(
            "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock'
             AND relation = '{table}'::regclass"
        );
        eventually("the table is held", || (cluster.psql(database, &count) == "1").then_some(()));
        Self { session }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.session.kill();
        let _ = self.session.wait();
    }
}

/// A network between switch and database that can stand still: connections stay, and nothing arrives.
pub(crate) struct Network {
    pub(crate) port: u16,
    still: Arc<AtomicBool>,
}

impl Network {
    /// Leads to a port of this machine.
    #[track_caller]
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let here = listener.local_addr().expect("an address").port();
        let still = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&still);
        // Its threads end with their connections, and with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let still = Arc::clone(&shared);
                    std::thread::spawn(move || carry(from, to, &still));
                }
            }
        });
        Self { port: here, still }
    }

    /// Lets it stand still, or move on: what was sent meanwhile arrives then.
    pub(crate) fn stand_still(&self, on: bool) {
        self.still.store(on, Ordering::SeqCst);
    }
}

/// Carries bytes one way. What it holds is bounded by the buffers of the system.
fn carry(mut from: TcpStream, mut to: TcpStream, still: &AtomicBool) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        while still.load(Ordering::SeqCst) {
            poll(Duration::from_millis(5), || None::<()>);
        }
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
    let _ = from.shutdown(std::net::Shutdown::Read);
}
