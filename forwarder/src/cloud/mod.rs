//! The host as its cloud knows it, and the word that it is about to go.
//!
//! [`imds`] asks the instance metadata service of EC2 (version 2 only), [`facts`] is what events say of the
//! host, [`watch`] looks for notices and drains, [`autoscaling`] completes the lifecycle hook with requests
//! that [`sigv4`] signs, all of it over the small client in [`http`].
//!
//! Nothing of this is needed to ship: whatever fails is said, and tried again.

pub mod autoscaling;
pub mod facts;
pub mod http;
pub mod imds;
pub mod sigv4;
pub mod watch;

use std::time::Duration;

use self::http::Endpoint;

/// What the config says about the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tags of the instance that events carry.
    pub tags: Vec<String>,
    /// Where the metadata service is.
    pub metadata: Endpoint,
    /// For one request.
    pub timeout: Duration,
    /// How often notices are looked for.
    pub interval: Duration,
    /// How long a drain may take when the instance is terminated.
    pub drain_timeout: Duration,
    /// The lifecycle hook to complete; else those that the group has.
    pub hook: Option<String>,
    /// The Auto Scaling group; else what the tag says.
    pub group: Option<String>,
    /// Where Auto Scaling is; else that of the region.
    pub autoscaling: Option<Endpoint>,
}
