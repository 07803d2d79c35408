//! The few facts of an X.509 certificate that the TLS library does not tell: when it ends, and whose it is.
//!
//! Reads DER (RFC 5280) without trusting it: what does not parse is `None`.

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// In seconds since 1970.
    pub(super) not_after: i64,
    /// As in RFC 2253: `CN=client,O=Example`, the most specific first.
    pub(super) subject: String,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_VERSION: u8 = 0xa0;

/// UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// Attribute types with a short name, by the bytes of their object id.
const SHORT_NAMES: [(&[u8], &str); 11] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
];

/// What is in a certificate.
pub(super) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut outer = Reader(certificate);
    let mut certificate = Reader(outer.expect(SEQUENCE)?);
    let mut tbs = Reader(certificate.expect(SEQUENCE)?);
    // The version is left out of the oldest ones; the serial number follows it.
    if tbs.next()?.0 == EXPLICIT_VERSION {
        tbs.next()?;
    }
    let _signature_algorithm = tbs.expect(SEQUENCE)?;
    let _issuer = tbs.expect(SEQUENCE)?;
    let mut validity = Reader(tbs.expect(SEQUENCE)?);
    let subject = tbs.expect(SEQUENCE)?;
    let _not_before = validity.next()?;
    let (tag, text) = validity.next()?;
    Some(Facts { not_after: time(tag, text)?, subject: name(subject)? })
}

/// Tags, lengths and values, one after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&short, mut rest) = rest.split_first()?;
        let length = match short {
            0..=0x7f => usize::from(short),
            // 0x80 is a length that is not known, which DER does not have.
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(short & 0x7f))?;
                rest = after;
                bytes.iter().fold(0_usize, |length, &byte| (length << 8) | usize::from(byte))
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let pair = |at: usize| -> Option<i64> {
        match digits.get(at..at + 2)? {
            [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
            _ => None,
        }
    };
    let (year, rest) = match (tag, digits.len()) {
        // Two digits mean 1950 to 2049.
        (UTC_TIME, 12) => (pair(0).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let (month, day) = (pair(rest)?, pair(rest + 2)?);
    let (hour, minute, second) = (pair(rest + 4)?, pair(rest + 6)?, pair(rest + 8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01, after Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A distinguished name as text.
fn name(relative_names: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut reader = Reader(relative_names);
    while !reader.0.is_empty() {
        let mut attributes = Reader(reader.expect(SET)?);
        let mut part = Vec::new();
        while !attributes.0.is_empty() {
            part.push(attribute(attributes.expect(SEQUENCE)?)?);
        }
        parts.push(part.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(bytes: &[u8]) -> Option<String> {
    let mut reader = Reader(bytes);
    let object_id = reader.expect(OBJECT_ID)?;
    let (tag, value) = reader.next()?;
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == object_id).map(|(_, short)| *short);
    let text = std::str::from_utf8(value).ok().filter(|_| TEXTS.contains(&tag));
    Some(match (short, text) {
        (Some(short), Some(text)) => format!("{short}={}", escaped(text)),
        (Some(short), None) => format!("{short}=#{}", hex(value)),
        (None, _) => format!("{}=#{}", dotted(object_id), hex(value)),
    })
}

/// What RFC 2253 escapes, and control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        let at_edge = index == 0 && matches!(character, ' ' | '#') || index == last && character == ' ';
        if character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("\\{byte:02X}"));
            }
            continue;
        }
        if at_edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

fn dotted(object_id: &[u8]) -> String {
    let mut parts = Vec::new();
    let mut value = 0_u64;
    for &byte in object_id {
        value = value.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            match parts.is_empty() {
                true => parts.extend([(value / 40).min(2), value - (value / 40).min(2) * 40]),
                false => parts.push(value),
            }
            value = 0;
        }
    }
    parts.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(GENERALIZED_TIME, b"20000229120000Z"), Some(951_825_600));
        for bad in [&b"20001329120000Z"[..], b"2000022912000Z", b"20000229120000", b"2000022912000aZ", b""] {
            assert_eq!(time(GENERALIZED_TIME, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_certificate_tells_its_end_and_its_subject() {
        let der = certificate(|params| {
            params.not_after = rcgen::date_time_ymd(2031, 2, 3);
            let subject = &mut params.distinguished_name;
            subject.push(DnType::CountryName, "CH");
            subject.push(DnType::OrganizationName, "A, B+C");
            subject.push(DnType::CommonName, "#x\u{1} ");
        });
        let facts = facts(&der).unwrap();
        assert_eq!(facts.not_after, 1_927_843_200);
        assert_eq!(facts.subject, r"CN=\#x\01\ ,O=A\, B\+C,C=CH");
    }

    #[test]
    fn types_without_short_name_are_numbers() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 840, 5]), "v");
        });
        assert_eq!(facts(&der).unwrap().subject, "1.2.840.5=#76");
    }

    #[test]
    fn broken_certificates_are_refused_wherever_they_break() {
        let der = certificate(|params| params.distinguished_name.push(DnType::CommonName, "x"));
        for end in 0..der.len() {
            assert_eq!(facts(&der[..end]), None, "cut at {end}");
        }
        // Whatever a byte is turned into, it is an answer and no panic.
        for at in 0..der.len() {
            let mut broken = der.clone();
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                broken[at] = value;
                let _ = facts(&broken);
            }
        }
    }
}
