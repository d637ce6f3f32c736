//! Why a request failed, for people.

use std::io;

use crate::tls;

/// What lies at the bottom of an error, in words: the libraries between have nothing to add.
pub(super) fn explain(error: &reqwest::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(tls) = as_tls(cause) {
            return tls::explain(tls);
        }
        match cause.source() {
            Some(source) => cause = source,
            None if is_end_of_file(cause) && error.is_connect() => {
                return format!(
                    "the server closed the connection during the TLS handshake ({cause}): does it \
                     speak plain http on this port?"
                );
            }
            None => return cause.to_string(),
        }
    }
}

fn is_end_of_file(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
}

/// The TLS error inside, under any number of I/O errors: those hide it from `source`.
fn as_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    as_tls(error.downcast_ref::<io::Error>()?.get_ref()?)
}
