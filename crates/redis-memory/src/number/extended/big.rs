//! As much arithmetic on large whole numbers as exact decimal conversion needs.

use std::cmp::Ordering;
use std::fmt;

/// A whole number; the least significant limb first, no zero limbs at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Big(Vec<u32>);

impl Big {
    /// Decimal digits, most significant first, each 0 to 9.
    pub(super) fn from_digits(digits: &[u8]) -> Self {
        let mut value = Big(Vec::new());
        for chunk in digits.chunks(9) {
            let factor = 10u32.pow(chunk.len() as u32);
            let addend = chunk.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(*digit));
            value.multiply_add(factor, addend);
        }
        value
    }

    pub(super) fn power_of_ten(exponent: u64) -> Self {
        let mut value = Big(vec![1]);
        for _ in 0..exponent / 9 {
            value.multiply_add(1_000_000_000, 0);
        }
        value.multiply_add(10u32.pow((exponent % 9) as u32), 0);
        value
    }

    pub(super) fn shifted(mantissa: u64, shift: usize) -> Self {
        Big(vec![mantissa as u32, (mantissa >> 32) as u32]).trimmed().shift_left(shift)
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let mut limbs = vec![0u32; self.0.len() + other.0.len()];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.0.iter().enumerate() {
                let sum = u64::from(*a) * u64::from(*b) + u64::from(limbs[i + j]) + carry;
                limbs[i + j] = sum as u32;
                carry = sum >> 32;
            }
            limbs[i + other.0.len()] = carry as u32;
        }
        Big(limbs).trimmed()
    }

    /// The top bits, how far they stand above the last bit, and whether there is more below them.
    pub(super) fn top_bits(&self) -> (u128, i64, bool) {
        let from = self.0.len().saturating_sub(4);
        let top = self.0[from..].iter().rev().fold(0u128, |sum, limb| sum << 32 | u128::from(*limb));
        (top, 32 * from as i64, self.0[..from].iter().any(|limb| *limb != 0))
    }

    /// The quotient to at least 66 bits: its bits, the power of two to multiply them with, and whether it goes on.
    pub(super) fn divided_by(&self, divisor: &Self) -> (u128, i64, bool) {
        const BITS: usize = 67;
        // Scaled so that the quotient lies between one half and two.
        let scale = divisor.bit_len() as i64 - self.bit_len() as i64;
        let (mut rest, unit) = match usize::try_from(scale) {
            Ok(shift) => (self.shift_left(shift), divisor.clone()),
            Err(_) => (self.clone(), divisor.shift_left(scale.unsigned_abs() as usize)),
        };
        let mut quotient = 0u128;
        for _ in 0..=BITS {
            quotient <<= 1;
            if rest.cmp(&unit).is_ge() {
                rest.subtract(&unit);
                quotient |= 1;
            }
            rest = rest.shift_left(1);
        }
        (quotient, -scale - BITS as i64, !rest.0.is_empty())
    }

    fn bit_len(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            let sum = u64::from(*limb) * u64::from(factor) + carry;
            *limb = sum as u32;
            carry = sum >> 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&self, shift: usize) -> Self {
        let (whole, bits) = (shift / 32, shift % 32);
        let mut limbs = vec![0u32; whole];
        let mut carry = 0u64;
        for limb in &self.0 {
            let wide = u64::from(*limb) << bits | carry;
            limbs.push(wide as u32);
            carry = wide >> 32;
        }
        limbs.push(carry as u32);
        Big(limbs).trimmed()
    }

    /// `other` must not be larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = 0i64;
        for (place, limb) in self.0.iter_mut().enumerate() {
            let difference = i64::from(*limb) - i64::from(other.0.get(place).copied().unwrap_or(0)) + borrow;
            *limb = difference as u32;
            borrow = difference >> 32;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }
}

impl fmt::Display for Big {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHUNK: u64 = 1_000_000_000;
        let mut rest = self.0.clone();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let mut remainder = 0u64;
            for limb in rest.iter_mut().rev() {
                let wide = remainder << 32 | u64::from(*limb);
                *limb = (wide / CHUNK) as u32;
                remainder = wide % CHUNK;
            }
            chunks.push(remainder);
            while rest.last() == Some(&0) {
                rest.pop();
            }
        }
        write!(f, "{}", chunks.pop().unwrap_or(0))?;
        chunks.iter().rev().try_for_each(|chunk| write!(f, "{chunk:09}"))
    }
}
