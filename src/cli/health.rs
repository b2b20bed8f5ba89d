//! `edge-service health`

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{complain, say};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 64 << 10;

/// Asks the daemon that listens where the configuration says: 0 when it is ready, else 1.
pub fn health(config: &Config) -> ExitCode {
    let address = reachable(config.server.listen);
    match ask(address) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
            say("ready");
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            let body = answer.split_once("\r\n\r\n").map_or("no answer", |(_, body)| body);
            complain(&format!("not ready: {}", reason(body)));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("no answer from {address}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// A daemon that listens everywhere is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn reason(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let reason = parsed.as_ref().and_then(|value| value.get("reason")?.as_str());
    reason.unwrap_or_else(|| body.trim()).to_owned()
}
