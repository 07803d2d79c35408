//! Hashing of ids that the host itself counts up. Nobody outside chooses them, so nothing has to be mixed against.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps whose keys are such ids.
pub(crate) type ById = BuildHasherDefault<IdHasher>;

/// See the module's text.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.write_u64(id.into());
    }

    fn write_u64(&mut self, id: u64) {
        // The map looks at the upper bits too, which the multiplication fills. Odd, from the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
