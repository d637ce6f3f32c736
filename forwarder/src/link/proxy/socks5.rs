//! SOCKS version 5, RFC 1928, command CONNECT, with user and password of RFC 1929.
//!
//! Every answer says how long it is before the rest of it is read, at most 262 bytes. Not done: GSSAPI.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Target, broken};
use crate::config::proxy::Credentials;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const ADDRESS_V4: u8 = 1;
const NAME: u8 = 3;
const ADDRESS_V6: u8 = 4;

/// Asks for a tunnel, and returns when the stream is the server's.
pub(super) async fn connect(
    stream: &mut TcpStream,
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<(), String> {
    let greeting: &[u8] = match credentials {
        None => &[VERSION, 1, NO_LOGIN],
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
    };
    write(stream, greeting).await?;
    match (read::<2>(stream).await?, credentials) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, USER_AND_PASSWORD], Some(credentials)) => log_in(stream, credentials).await?,
        ([VERSION, NONE_ACCEPTABLE], None) => {
            return Err("the proxy wants a log-in: `socks5://user:password@host:port`".to_owned());
        }
        ([VERSION, NONE_ACCEPTABLE], Some(_)) => {
            return Err(
                "the proxy wants a log-in of another kind than user and password, which is not supported"
                    .to_owned(),
            );
        }
        ([VERSION, method], _) => {
            return Err(format!(
                "the proxy chooses the log-in {method}, which was not offered; see its settings"
            ));
        }
        ([first, _], _) => return Err(other_protocol(first)),
    }
    write(stream, &request(target)?).await?;
    let [version, reply, _, kind] = read::<4>(stream).await?;
    if version != VERSION {
        return Err(other_protocol(version));
    }
    if reply != 0 {
        return Err(format!(
            "the proxy answers: {}",
            in_words(reply, &target.to_string())
        ));
    }
    // Where it connects from is of no interest here, but has to be read.
    let length = match kind {
        ADDRESS_V4 => 4,
        ADDRESS_V6 => 16,
        NAME => usize::from(read::<1>(stream).await?[0]),
        _ => {
            return Err(format!(
                "the proxy's answer has an address of the unknown kind {kind}"
            ));
        }
    };
    let mut bound = [0; 255 + 2];
    let read = stream.read_exact(&mut bound[..length + 2]).await;
    read.map(drop).map_err(|error| broken(&error))
}

async fn log_in(stream: &mut TcpStream, credentials: &Credentials) -> Result<(), String> {
    let mut message = vec![LOGIN_VERSION];
    for part in [&credentials.user, &credentials.password] {
        message.push(short(part)?);
        message.extend_from_slice(part.as_bytes());
    }
    write(stream, &message).await?;
    match read::<2>(stream).await? {
        [_, 0] => Ok(()),
        _ => Err("the proxy does not accept the user and password in `proxy`".to_owned()),
    }
}

fn request(target: &Target) -> Result<Vec<u8>, String> {
    let mut request = vec![VERSION, CONNECT, 0];
    let mut address = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            request.push(ADDRESS_V4);
            request.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            request.push(ADDRESS_V6);
            request.extend_from_slice(&address.octets());
        }
    };
    let port = match target {
        Target::Address(target) => {
            address(target.ip());
            SocketAddr::port(target)
        }
        Target::Named(server) => {
            match server.host.parse() {
                Ok(typed) => address(typed),
                Err(_) => {
                    request.extend_from_slice(&[NAME, short(&server.host)?]);
                    request.extend_from_slice(server.host.as_bytes());
                }
            }
            server.port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// The length of a text as one byte.
fn short(text: &str) -> Result<u8, String> {
    u8::try_from(text.len()).map_err(|_| "SOCKS5 has no room for texts over 255 bytes".to_owned())
}

fn in_words(reply: u8, target: &str) -> String {
    match reply {
        1 => "general failure; see the proxy's log".to_owned(),
        2 => format!("its rules forbid it; allow connections to {target} there"),
        3 => format!("the network of {target} is not reachable from it"),
        4 => format!("{target} is not reachable from it; does it resolve the name?"),
        5 => format!("{target} refuses the connection; is the server running?"),
        6 => format!("no answer from {target} (TTL expired)"),
        7 => "it does not know the command CONNECT; is it a SOCKS5 proxy for TCP?".to_owned(),
        8 => "it does not know this kind of address; name the server by another kind, or set \
              `proxy use local resolver`"
            .to_owned(),
        other => format!("failure {other}; see the proxy's log"),
    }
}

fn other_protocol(first: u8) -> String {
    match first {
        b'H' => "what answers there speaks HTTP; write `http://`".to_owned(),
        4 | 0 => "what answers there speaks SOCKS4, which is not supported".to_owned(),
        _ => "what answers there is no SOCKS5 proxy; is it the right port?".to_owned(),
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    let written = stream.write_all(bytes).await;
    written.map_err(|error| broken(&error))
}

async fn read<const COUNT: usize>(stream: &mut TcpStream) -> Result<[u8; COUNT], String> {
    let mut bytes = [0; COUNT];
    match stream.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) => Err(broken(&error)),
    }
}
