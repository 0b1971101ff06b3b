//! When a certificate is renewed. Pure: the server's suggestion, the certificate, and the moment come in.
use crate::acme_client::obtain::Leaf;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

/// What the server suggests (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: OffsetDateTime,
    pub end: OffsetDateTime,
}

/// The moment from which on a certificate is renewed: one within the window, by the serial number and not by dice, so
/// that a command that runs every hour means the same moment each time, and many machines do not mean the same one.
/// Without a window: when two thirds of its life are over.
pub fn due(leaf: &Leaf, window: Option<Window>) -> OffsetDateTime {
    let hash = Sha256::digest(&leaf.serial);
    let share = hash.iter().take(4).fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
    let within = |start: OffsetDateTime, length: Duration| start + length * (f64::from(share) / f64::from(u32::MAX));
    match window {
        // RFC 9773 section 4.2: a window whose end is not after its start is no suggestion.
        Some(window) if window.end > window.start => within(window.start, window.end - window.start),
        _ => {
            let life = leaf.not_after - leaf.not_before;
            within(leaf.not_before + life * 0.62, life * 0.08)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::CertificateDer;

    fn leaf(serial: &str) -> Leaf {
        let not_before = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let der = CertificateDer::from(Vec::new());
        Leaf { der, serial: serial.into(), not_before, not_after: not_before + Duration::hours(24) }
    }

    #[test]
    fn a_certificate_is_renewed_within_the_servers_window_and_machines_do_not_come_at_once() {
        let start = leaf("").not_before + Duration::hours(3);
        let window = Window { start, end: start + Duration::hours(2) };
        let moments: std::collections::BTreeSet<_> =
            (0..200).map(|serial| due(&leaf(&serial.to_string()), Some(window))).collect();
        assert!(moments.len() > 190 && moments.iter().all(|at| (window.start..=window.end).contains(at)));
        assert_eq!(due(&leaf("7"), Some(window)), due(&leaf("7"), Some(window)), "asked again, the same moment");
    }

    #[test]
    fn without_a_usable_window_it_is_renewed_before_three_quarters_of_its_life() {
        let backwards = Window { start: leaf("").not_after, end: leaf("").not_before };
        for window in [None, Some(backwards)] {
            for serial in 0..200 {
                let one = leaf(&serial.to_string());
                let at = due(&one, window);
                assert!(
                    at >= one.not_before + Duration::hours(14) && at <= one.not_before + Duration::hours(18),
                    "{at}"
                );
            }
        }
    }
}
