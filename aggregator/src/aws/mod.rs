//! Requests that are signed for Amazon's services (Signature Version 4).
//!
//! [`AwsOptions`] says who we are and what is signed for; `Signer` signs what goes out, over the bytes that
//! do go out; `CredentialSource` keeps credentials that run out fresh; `Clock` knows by how much this
//! machine's time is off. [`denial`] tells people what a refusal means.
//!
//! Without the cargo feature `aws` the options are read all the same, and refused where they ask for
//! a signature.

#[cfg(feature = "aws")]
mod clock;
#[cfg(feature = "aws")]
mod connector;
#[cfg(feature = "aws")]
mod credentials;
mod denial;
mod options;
#[cfg(feature = "aws")]
mod signer;
#[cfg(not(feature = "aws"))]
#[path = "without.rs"]
mod signer;

pub(crate) use denial::explain;
pub use options::{AwsOptions, Keys, Role, Service};
pub(crate) use signer::Signer;

/// Why a request cannot be signed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// This program was built without it.
    #[cfg(not(feature = "aws"))]
    #[error("this program was built without the feature `aws`, so it cannot sign requests")]
    NotBuilt,
    /// Nobody gives us credentials.
    #[cfg(feature = "aws")]
    #[error("no credentials to sign with: {0}")]
    Credentials(std::sync::Arc<str>),
    /// The request cannot be signed.
    #[cfg(feature = "aws")]
    #[error("a request cannot be signed: {0}")]
    Request(std::sync::Arc<str>),
    /// No connections can be made to those who give credentials.
    #[cfg(feature = "aws")]
    #[error("cannot set up connections for credentials: {0}")]
    Connections(std::sync::Arc<str>),
}
