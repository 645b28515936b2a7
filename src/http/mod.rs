//! HTTP in: the five doors, each a public PIN-change API as its clients expect it, all one request inside.
//!
//! [`serve`] runs the listener; `request` tells the story of one request; each door's file has only that door's shapes:
//! tables of fields, what they ask for, one total match from every outcome to a body and a status. **Never here:** PIN
//! changes decided, cards read, routes chosen, a clear PIN longer than the HSM needs to take it. Where next: `door` for
//! what a door is made of, `client` for who may ask, `openapi` for the documentation made of the same tables.

mod ask;
mod bucket;
mod client;
mod docs;
mod door;
mod equals;
mod field;
mod firstvision_apac;
mod firstvision_latam;
mod jwt;
mod meters;
mod openapi;
mod p100;
mod postcard;
mod request;
mod routes;
mod server;

pub use bucket::Bucket;
pub use client::{Client, Clients, Credential, Hashed, hashed};
pub use door::{Asked, Door, Presentation};
pub use jwt::{Issuer, NoPublicKey, Signature};
pub use openapi::document;
pub use server::{Http, PROTOCOLS, Settings, serve};
