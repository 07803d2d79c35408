//! Hosts and ports.

use std::net::IpAddr;

/// Reads `host:port`, with an IPv6 address in brackets. The host comes back without them.
pub(super) fn parse(text: &str, default_port: Option<u16>) -> Result<(String, u16), &'static str> {
    if text.contains("://") {
        return Err("it has a scheme");
    }
    if text.contains(['/', '?', '#', '@']) {
        return Err("it has more than host and port");
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| "there is no IPv6 address in the brackets")?;
            (
                host,
                if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':').ok_or("the port is missing")?)
                },
            )
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets, as in [::1]:80");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if !is_host(host) {
        return Err("the host is neither an IP address nor a name");
    }
    let port = match port {
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => port.parse().ok(),
        Some(_) => None,
        None => Some(default_port.ok_or("the port is missing")?),
    };
    let port = port.filter(|port| *port != 0).ok_or("the port is not a number from 1 to 65535")?;
    Ok((host.to_owned(), port))
}

/// An IP address without brackets, or a DNS name.
pub(super) fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(belongs);
    // A last label of digits is a mistyped IPv4 address.
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= 253 && !numeric && host.split('.').all(label)
}

/// Whether traffic to this host stays on the machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_host_and_port_is_refused() {
        for text in [
            "",
            ":",
            ":80",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            "host:1a",
            "http://host:1",
            "host:1/x",
            "u@host:1",
            "::1:80",
            "[::1",
            "[::1]80",
            "[host]:1",
            "300.1.1.1:80",
            "a..b:1",
            "ho st:1",
            "h\u{f6}st:1",
        ] {
            assert!(parse(text, None).is_err(), "{text}");
        }
    }

    #[test]
    fn every_form_of_host_is_read() {
        assert_eq!(parse("127.0.0.1:80", None), Ok(("127.0.0.1".to_owned(), 80)));
        assert_eq!(parse("[::1]:80", None), Ok(("::1".to_owned(), 80)));
        assert_eq!(parse("redis_0.svc-1.local:6379", None), Ok(("redis_0.svc-1.local".to_owned(), 6379)));
        assert_eq!(parse("[::1]", Some(6379)), Ok(("::1".to_owned(), 6379)));
        assert_eq!(parse("redis", Some(6379)), Ok(("redis".to_owned(), 6379)));
    }

    #[test]
    fn only_the_machine_itself_is_loopback() {
        assert!(is_loopback("127.9.9.9") && is_loopback("::1") && is_loopback("LocalHost"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("localhost.example.com"));
    }
}
