//! Credentials that are fresh whenever something is to be signed.
//!
//! Temporary ones are renewed when four fifths of their time are over, beside the requests, which go on
//! with those that are there. One renewal runs at a time, whoever asks for it.
//!
//! INVARIANT: what works is only given up for what came in its place. While nobody gives new
//! credentials the old ones stay, even past their end, since the server decides whether they are good.
//!
//! Each renewal walks Amazon's chain anew: files may have changed, and a machine may have got a role.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_runtime_api::client::identity::Identity;
use tokio::time::Instant;
use tracing::{Instrument as _, error, info};

use super::clock::Clock;
use super::connector::Connector;
use super::{AwsOptions, SignError};
use crate::throttle::Throttle;

/// After a renewal in vain nobody is asked again for this time.
const RETRY: Duration = Duration::from_secs(5);
/// Credentials that are denied are renewed only if they are older than this: rights that lack must not
/// make us ask for credentials with each request.
const DENIED_AGE: Duration = Duration::from_secs(15);
/// The whole of a renewal may take this long.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Credentials are not renewed more often than this.
const SHORTEST: Duration = Duration::from_secs(1);

/// Gives credentials, and keeps them fresh.
pub(super) struct CredentialSource {
    options: AwsOptions,
    region: String,
    connector: Connector,
    clock: Arc<Clock>,
    held: Mutex<Option<Arc<Held>>>,
    /// Held by the one renewal that runs; why and when the last one failed.
    renewal: tokio::sync::Mutex<Option<(Instant, SignError)>>,
    alarm: Throttle,
}

/// Credentials as they were given to us.
pub(super) struct Held {
    identity: Identity,
    access_key_id: String,
    obtained: Instant,
    /// When to renew them, and when they end.
    times: Option<(Instant, Instant)>,
}

impl Held {
    fn new(credentials: Credentials, clock: &Clock) -> Self {
        let obtained = Instant::now();
        let times = credentials.expiry().map(|end| {
            let lasts = end.duration_since(clock.now()).unwrap_or_default();
            (
                obtained + (lasts * 4 / 5).max(SHORTEST),
                obtained + lasts.max(SHORTEST),
            )
        });
        Self {
            access_key_id: credentials.access_key_id().to_owned(),
            identity: credentials.into(),
            obtained,
            times,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    fn is_due(&self) -> bool {
        self.times.is_some_and(|(due, _)| Instant::now() >= due)
    }

    fn is_over(&self) -> bool {
        self.times.is_some_and(|(_, end)| Instant::now() >= end)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.access_key_id)
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CredentialSource")
            .finish_non_exhaustive()
    }
}

impl CredentialSource {
    pub(super) fn new(
        options: &AwsOptions,
        region: String,
        connector: Connector,
        clock: Arc<Clock>,
    ) -> Self {
        Self {
            options: options.clone(),
            region,
            connector,
            clock,
            held: Mutex::new(None),
            renewal: tokio::sync::Mutex::new(None),
            alarm: Throttle::default(),
        }
    }

    /// The credentials to sign with; waits only when there are none that may be good.
    pub(super) async fn current(self: &Arc<Self>) -> Result<Arc<Held>, SignError> {
        match self.held() {
            Some(held) if !held.is_due() => Ok(held),
            Some(held) if !held.is_over() => {
                if self.renewal.try_lock().is_ok() {
                    let source = Arc::clone(self);
                    let seen = Arc::clone(&held);
                    let renewing = async move { drop(source.renew(Some(&seen)).await) };
                    tokio::spawn(renewing.in_current_span());
                }
                Ok(held)
            }
            held => match self.renew(held.as_ref()).await {
                Ok(renewed) => Ok(renewed),
                Err(error) => held.ok_or(error),
            },
        }
    }

    /// A server has denied these: gives whether there are others now.
    pub(super) async fn renew_denied(&self, denied: &Arc<Held>) -> bool {
        let is_fixed = self.options.keys.is_some() && self.options.role.is_none();
        let is_held = self.held().is_none_or(|held| Arc::ptr_eq(&held, denied));
        if is_held && (is_fixed || denied.obtained.elapsed() < DENIED_AGE && !denied.is_over()) {
            return false;
        }
        self.renew(Some(denied))
            .await
            .is_ok_and(|renewed| renewed.access_key_id != denied.access_key_id)
    }

    fn held(&self) -> Option<Arc<Held>> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Gets others than those that were `seen`, unless somebody has meanwhile.
    async fn renew(&self, seen: Option<&Arc<Held>>) -> Result<Arc<Held>, SignError> {
        let mut last = self.renewal.lock().await;
        if let Some(held) = self.held()
            && !seen.is_some_and(|seen| Arc::ptr_eq(seen, &held))
        {
            return Ok(held);
        }
        if let Some((at, error)) = last.as_ref()
            && at.elapsed() < RETRY
        {
            return Err(error.clone());
        }
        let reason = match tokio::time::timeout(TIMEOUT, Box::pin(self.obtain())).await {
            Ok(Ok(credentials)) => {
                *last = None;
                return Ok(self.keep(credentials));
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        if let Some(times) = self.alarm.due(1) {
            let old_ones_stay = seen.is_some();
            error!(
                reason,
                times, old_ones_stay, "cannot get credentials to sign requests with, trying again"
            );
        }
        let error = SignError::Credentials(reason.into());
        *last = Some((Instant::now(), error.clone()));
        Err(error)
    }

    fn keep(&self, credentials: Credentials) -> Arc<Held> {
        let renewed = Arc::new(Held::new(credentials, &self.clock));
        let lasts_s = renewed
            .times
            .map(|(_, end)| end.duration_since(renewed.obtained).as_secs());
        info!(
            access_key_id = renewed.access_key_id,
            lasts_s, "got credentials to sign requests with"
        );
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&renewed));
        renewed
    }

    /// Asks whoever gives credentials.
    async fn obtain(&self) -> Result<Credentials, String> {
        let options = &self.options;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.connector.clone())
            .region(Region::new(self.region.clone()));
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(keys) = &options.keys {
            loader = loader.credentials_provider(Credentials::new(
                &keys.access_key_id,
                keys.secret_access_key.reveal(),
                keys.session_token
                    .as_ref()
                    .map(|token| token.reveal().to_owned()),
                None,
                "options of the output",
            ));
        }
        let config = loader.load().await;
        let given = match &options.role {
            None => {
                let provider = config
                    .credentials_provider()
                    .ok_or("there is nobody to ask")?;
                provider.provide_credentials().await
            }
            Some(role) => {
                let mut builder = AssumeRoleProvider::builder(&role.arn)
                    .session_name(&role.session_name)
                    .configure(&config);
                if let Some(id) = &role.external_id {
                    builder = builder.external_id(id);
                }
                builder.build().await.provide_credentials().await
            }
        };
        given.map_err(|error| {
            let words = in_words(&error);
            match (&options.keys, &options.role) {
                (None, None) => format!(
                    "{words} (asked, in this order: the environment, the profile, the web identity, \
                     the container, and the instance's metadata, version 2)"
                ),
                (_, Some(role)) => format!("cannot take the role {}: {words}", role.arn),
                _ => words,
            }
        })
    }
}

/// The words of an error and of all that is below it, each once.
fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        below = error.source();
    }
    words
}
