//! Serial numbers of certificates.
use crate::Error;
use std::fmt;

/// A serial number as it stands in the certificate, big-endian, without leading zeros.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

/// First octet of every number we make. It keeps them positive and of one length, whatever the random part is
/// (RFC 5280 s4.1.2.2: positive, at most 20 octets).
const PREFIX: u8 = 0x54;

impl Serial {
    /// 128 random bits.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn random() -> Result<Self, Error> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::Random)?;
        let mut bytes = Vec::with_capacity(1 + random.len());
        bytes.push(PREFIX);
        bytes.extend(random);
        Ok(Self(bytes))
    }

    /// A number read from a certificate. Leading zeros of the DER integer do not count.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().skip_while(|byte| *byte == 0).collect())
    }

    /// From hex as [`Serial`] is displayed; also in capitals and with colons, as tools show it.
    pub fn parse(text: &str) -> Option<Self> {
        let hex: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        if hex.is_empty() || hex.len() > 40 || !hex.len().is_multiple_of(2) {
            return None;
        }
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        if !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        Some(Self::from_bytes(&hex.chunks(2).map(octet).collect::<Option<Vec<u8>>>()?))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn to_rcgen(&self) -> rcgen::SerialNumber {
        rcgen::SerialNumber::from_slice(&self.0)
    }
}

/// Lower-case hex without separators, as `openssl x509 -serial` but for its case.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_positive_of_one_length_and_differ() {
        let serials: Vec<_> = (0..50).map(|_| Serial::random().unwrap()).collect();
        for (i, serial) in serials.iter().enumerate() {
            assert_eq!(serial.as_bytes().len(), 17);
            assert!(serial.as_bytes()[0] < 0x80);
            assert!(!serials[..i].contains(serial));
        }
    }

    #[test]
    fn a_leading_zero_of_der_does_not_make_another_number() {
        assert_eq!(Serial::from_bytes(&[0, 0x9a, 0x01]), Serial::from_bytes(&[0x9a, 0x01]));
        assert_eq!(Serial::from_bytes(&[0, 0x9a, 0x01]).to_string(), "9a01");
    }
}
