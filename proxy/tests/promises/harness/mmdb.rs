//! Writes small databases in MaxMind's format (version 2.0 of its specification): one record for one IPv4 network.

/// How a database spells a country.
#[derive(Clone, Copy)]
pub enum Schema {
    /// `country.iso_code`.
    MaxMind,
    /// `country_code`.
    Flat,
}

/// A database that knows one country, for `first_octet.0.0.0/8`.
pub fn database(first_octet: u8, code: &str, schema: Schema) -> Vec<u8> {
    const NODES: u32 = 8;
    let data = match schema {
        Schema::MaxMind => map(&[("country", map(&[("iso_code", text(code))]))]),
        Schema::Flat => map(&[("country_code", text(code))]),
    };
    let mut bytes = Vec::new();
    for depth in 0..NODES {
        // A record at the node count is "nothing"; behind it, after 16 bytes, the data begins.
        let next = if depth + 1 < NODES { depth + 1 } else { NODES + 16 };
        let one = first_octet >> (7 - depth) & 1 == 1;
        let (left, right) = if one { (NODES, next) } else { (next, NODES) };
        bytes.extend(left.to_be_bytes());
        bytes.extend(right.to_be_bytes());
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    bytes.extend(map(&[
        ("binary_format_major_version", number(5, &2u16.to_be_bytes())),
        ("binary_format_minor_version", number(5, &0u16.to_be_bytes())),
        ("build_epoch", number(9, &1_700_000_000u64.to_be_bytes())),
        ("database_type", text("Test-Country")),
        ("description", map(&[("en", text("a test"))])),
        ("ip_version", number(5, &4u16.to_be_bytes())),
        ("languages", [head(11, 1), text("en")].concat()),
        ("node_count", number(6, &NODES.to_be_bytes())),
        ("record_size", number(5, &32u16.to_be_bytes())),
    ]));
    bytes
}

/// Type and size in one byte; types from 8 on in a second one.
fn head(kind: u8, size: usize) -> Vec<u8> {
    let size = u8::try_from(size).unwrap();
    assert!(size < 29, "longer values have another form");
    if kind < 8 { vec![kind << 5 | size] } else { vec![size, kind - 7] }
}

fn text(text: &str) -> Vec<u8> {
    [head(2, text.len()), text.as_bytes().to_vec()].concat()
}

/// Without zeros in front, as the format has it.
fn number(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let bare: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    [head(kind, bare.len()), bare].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let inside = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
    head(7, entries.len()).into_iter().chain(inside).collect()
}
