//! Numbers as text. Formatting by `core::fmt` costs a guest more than counting does.

/// Appends `value` in decimal.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_decimal_to_the_last() {
        for value in [0, 7, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            super::put(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
