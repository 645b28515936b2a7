//! What connections to other machines have in common, be they hosts or devices: when a machine is left alone
//! ([`breaker`]), how a connection is made, how long to wait before the next try.
//!
//! **Never here:** a message of any protocol, a task. Where next: `host` and `hsm::payshield::client`.

use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::net::TcpStream;
use tokio::sync::watch;

pub mod breaker;

/// Silence after which the kernel probes a peer that may be gone without a word.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// Connects. The name is looked up each time, since addresses move.
///
/// # Errors
/// What the system says.
pub async fn connect(address: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let alive = TcpKeepalive::new().with_time(KEEPALIVE);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    Ok(stream)
}

/// How long to wait after so many failures in a row: doubled with each up to the longest, and half of it at random, so
/// that peers are not all called at once.
#[must_use]
pub fn back_off(first: Duration, longest: Duration, failures: u32, random: u8) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = doubled.min(longest);
    wait / 2 + wait.mul_f64(f64::from(random) / 510.0)
}

/// Completes when the switch stops.
pub async fn told_to_stop(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let ms = Duration::from_millis;
        let wait = |failures, random| back_off(ms(100), ms(1000), failures, random);
        assert_eq!(wait(0, 255), ms(100), "after a connection that served");
        assert_eq!(wait(1, 255), ms(100));
        assert_eq!(wait(3, 255), ms(400));
        assert_eq!(wait(3, 0), ms(200));
        assert_eq!(wait(9, 255), ms(1000));
        assert_eq!(wait(u32::MAX, 255), ms(1000));
    }
}
