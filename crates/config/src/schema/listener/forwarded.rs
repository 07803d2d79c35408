//! `forwarded` of a listener: whose word about the client is believed.

use std::net::IpAddr;

use crate::field::{Field, Kind};
use crate::problem::quoted;
use crate::reader::{Fields, Item};
use crate::snapshot::{ForwardedPolicy, IpNetwork};
use crate::units::Bounds;

pub(super) const FIELDS: &[Field] = &[
    Field::number(
        "trusted_hops",
        TRUSTED_HOPS,
        "Proxies in front of the gateway: so many last entries of `x-forwarded-for` are theirs and believed. 0 \
         replaces what clients say about themselves",
    ),
    Field::new(
        "trusted_networks",
        Kind::List(&Kind::Text, 1, NETWORKS_MAX),
        "Networks such as `10.0.0.0/8` in which the peer must be for `trusted_hops` to count",
    )
    .or("every peer, with a warning"),
    Field::boolean(
        "rfc7239",
        "Whether `forwarded` (RFC 7239) is written beside `x-forwarded-for`, `-proto` and `-host`",
    ),
];

pub(crate) const TRUSTED_HOPS: Bounds = Bounds::count(0, 0, 32);

/// They are gone through for each request.
const NETWORKS_MAX: usize = 100;

/// `loopback`: whether only this machine reaches the listener.
pub(super) fn lower(listener: &Fields<'_>, loopback: bool) -> ForwardedPolicy {
    let fields = listener.group("forwarded", FIELDS);
    let trusted_hops = fields.usize("trusted_hops", TRUSTED_HOPS);
    let written = fields.optional("trusted_networks");
    let networks = written
        .as_ref()
        .map(|item| item.list_of("networks", NETWORKS_MAX, ", or remove the field"))
        .unwrap_or_default();
    if let Some(item) = written.filter(|_| trusted_hops == 0) {
        item.warning(
            "no proxy is trusted, so these networks have no effect",
            "Write trusted_hops: 1, or remove the networks",
        );
    }
    if trusted_hops > 0 && networks.is_empty() && !loopback {
        fields.item.warning(
            "whoever connects is believed about the client's address",
            "Write trusted_networks: [10.0.0.0/8] to confine that, or [\"0.0.0.0/0\", \"::/0\"] to say so on purpose",
        );
    }
    ForwardedPolicy {
        trusted_hops,
        trusted_networks: networks.iter().filter_map(network).collect(),
        rfc7239: fields.boolean("rfc7239", false),
    }
}

/// An IP address, alone or with the number of bits that count.
pub(in crate::schema) fn network(item: &Item<'_>) -> Option<IpNetwork> {
    const HINT: &str = "Write one such as 10.0.0.0/8, 192.0.2.1 or \"2001:db8::/32\"";
    let text = item.text()?;
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let refused = |reason: &str| {
        item.problem(format!("{} is not a network: {reason}", quoted(text)), HINT);
        None
    };
    let Ok(address) = address.parse::<IpAddr>() else { return refused("there is no IP address") };
    if address.to_canonical() != address {
        return refused("it is an IPv4 address in the form of IPv6");
    }
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            match digits.parse::<u8>().ok().filter(|prefix| *prefix <= bits) {
                Some(prefix) => prefix,
                None => return refused("the number of bits is out of bounds"),
            }
        }
        Some(_) => return refused("the number of bits is out of bounds"),
    };
    let first = first_address(address, prefix);
    if first != address {
        item.problem(
            format!("{} has bits beyond its {prefix}", quoted(text)),
            format!("Write {first}/{prefix}, or more bits"),
        );
        return None;
    }
    Some(IpNetwork { address, prefix })
}

/// The address with every bit beyond `prefix` zero.
fn first_address(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)).into()),
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_prefix_are_cut() {
        for (address, prefix, expected) in [
            ("10.1.2.3", 8, "10.0.0.0"),
            ("10.1.2.3", 32, "10.1.2.3"),
            ("10.1.2.3", 0, "0.0.0.0"),
            ("10.1.2.3", 31, "10.1.2.2"),
            ("2001:db8:ffff::1", 32, "2001:db8::"),
            ("2001:db8::1", 128, "2001:db8::1"),
            ("2001:db8::1", 0, "::"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(first_address(address, prefix).to_string(), expected);
        }
    }
}
