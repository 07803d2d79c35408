//! A measurement that was disturbed is made again, a few times.

use anyhow::{Result, bail};

use crate::results::Invalid;

/// How often a measurement is tried before the run is given up.
const ATTEMPTS: usize = 3;

/// A measurement that may not count; then it says why.
pub(crate) type Attempt<T> = Result<T, String>;

/// Remembers what did not count.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) invalid: Vec<Invalid>,
}

// === impl Attempts ===

impl Attempts {
    /// Repeats a measurement until it is valid.
    ///
    /// # Errors
    /// When it cannot be made at all, or none of [`ATTEMPTS`] was valid.
    pub(crate) fn until_valid<T>(
        &mut self,
        (subject, connections, round): (&str, usize, usize),
        mut measure: impl FnMut() -> Result<Attempt<T>>,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            match measure()? {
                Ok(valid) => return Ok(valid),
                Err(reason) => {
                    eprintln!("    invalid: {subject}, {connections} connections, round {round}: {reason}");
                    self.invalid.push(Invalid { subject: subject.to_owned(), connections, round, reason });
                }
            }
        }
        bail!("{subject} at {connections} connections: {ATTEMPTS} attempts at round {round} were invalid");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_measurement_is_repeated_and_then_given_up() -> Result<()> {
        let mut attempts = Attempts::default();
        let mut tries = 0;
        let found = attempts.until_valid(("x", 1, 1), || {
            tries += 1;
            Ok(if tries < ATTEMPTS { Err("bad".to_owned()) } else { Ok(tries) })
        })?;
        assert_eq!((found, attempts.invalid.len()), (ATTEMPTS, ATTEMPTS - 1));
        let error = attempts.until_valid(("x", 1, 2), || Ok(Err::<(), _>("bad".to_owned())));
        assert!(error.is_err_and(|error| error.to_string().contains("round 2")));
        assert_eq!(attempts.invalid.len(), 2 * ATTEMPTS - 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_measured_is_not_tried_again() {
        let mut attempts = Attempts::default();
        let mut tries = 0;
        let found: Result<()> = attempts.until_valid(("x", 1, 1), || {
            tries += 1;
            bail!("it does not start")
        });
        assert!(found.is_err_and(|error| error.to_string().contains("does not start")));
        assert_eq!((tries, attempts.invalid.len()), (1, 0));
    }
}
