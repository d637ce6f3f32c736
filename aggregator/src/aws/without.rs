//! Stands in the place of the signer where the feature `aws` is not built.

use reqwest::header::HeaderMap;

use super::{AwsOptions, SignError};

/// A signer that does not exist.
#[derive(Debug)]
pub(crate) enum Signer {}

/// A signature that does not exist.
#[derive(Debug)]
pub(crate) enum Signed {}

impl Signer {
    pub(crate) fn new(
        _options: &AwsOptions,
        _host: &str,
        _proxy: Option<&reqwest::Proxy>,
    ) -> Result<Self, SignError> {
        Err(SignError::NotBuilt)
    }

    #[expect(clippy::unused_async, reason = "the place of one that waits")]
    pub(crate) async fn sign(&self, _request: &mut reqwest::Request) -> Result<Signed, SignError> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the place of one that waits")]
    pub(crate) async fn denied(&self, _signed: &Signed, _headers: &HeaderMap) -> bool {
        match *self {}
    }
}
