//! What a CSR asks for (RFC 8555 s7.4): compared with the order, never copied into a certificate. Its signature and
//! its key are the issuer's to judge.
use super::identifier::Identifier;
use super::problem::{Kind, Problem};
use std::net::IpAddr;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension};

pub(super) struct Asked {
    /// Names and addresses of the SAN extension, and the common name.
    pub identifiers: Vec<Identifier>,
    /// The content of `subjectPublicKey`.
    pub subject_public_key: Vec<u8>,
}

impl Asked {
    /// # Errors
    /// `badCSR`: 1. not one DER request; 2. it asks for something that no order can name; 3. it asks for a CA.
    pub fn parse(der: &[u8]) -> Result<Self, Problem> {
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| bad("it is not a PKCS #10 request"))?;
        if !rest.is_empty() {
            return Err(bad("there are bytes behind it"));
        }
        let info = &csr.certification_request_info;
        let mut identifiers = vec![];
        for name in info.subject.iter_common_name() {
            let name = name.as_str().map_err(|_| bad("its common name is not text"))?;
            identifiers.push(common_name(name)?);
        }
        for extension in csr.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        identifiers.push(alternative(name)?);
                    }
                }
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                    return Err(bad("it asks for a certificate authority"));
                }
                // Key usages and the like come from the profile.
                _ => {}
            }
        }
        Ok(Self { identifiers, subject_public_key: info.subject_pki.subject_public_key.data.to_vec() })
    }
}

fn common_name(name: &str) -> Result<Identifier, Problem> {
    let kind = if name.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
    Identifier::parse(kind, name).map_err(|_| bad("its common name is none of the ordered names; leave it out"))
}

fn alternative(name: &GeneralName<'_>) -> Result<Identifier, Problem> {
    match name {
        GeneralName::DNSName(name) => Identifier::parse("dns", name).map_err(|problem| bad(&problem.detail)),
        GeneralName::IPAddress(bytes) => address(bytes).map(Identifier::Ip).ok_or_else(|| bad("not an address")),
        _ => Err(bad("it may name DNS names and addresses only; the profile adds what else there is to say")),
    }
}

/// An address as a certificate holds it (RFC 5280 s4.2.1.6).
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

fn bad(why: &str) -> Problem {
    Problem::new(Kind::BadCsr, format!("the CSR is refused: {why}"))
}
