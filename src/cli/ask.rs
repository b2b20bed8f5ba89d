//! A question to the running daemon.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 64 << 20;

/// The status and the body of what the configured daemon answers to `GET path`.
///
/// # Errors
/// One line: nobody answers.
pub fn ask(config: &Config, path: &str) -> Result<(u16, String), String> {
    let address = reachable(config.server.listen);
    // It is this box's own daemon, whatever proxy the environment names.
    let settings = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
    let agent: ureq::Agent = settings.timeout_global(Some(PATIENCE)).build().into();
    let no_answer = |error: ureq::Error| {
        format!("no answer from {address}: {error}; is it running there? --listen and --config say where to ask")
    };
    let mut response = agent.get(format!("http://{address}{path}")).call().map_err(no_answer)?;
    let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(no_answer)?;
    Ok((response.status().as_u16(), body))
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
