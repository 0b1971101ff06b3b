//! Which port is whose. The files in this folder are written with the usual ones.
use std::ops::Range;

pub const APPLICATIONS: u16 = 7;

/// The usual ports, as they stand in torhaus.yaml: the two doors, the provider, the applications.
const USUAL: [u16; 10] = [8443, 8444, 9480, 9481, 9482, 9483, 9484, 9485, 9486, 9487];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    pub office: u16,
    pub internet: u16,
    pub provider: u16,
    pub applications: Range<u16>,
}

impl Ports {
    /// The usual ones, or ten in a row from `base`.
    pub fn new(base: Option<u16>) -> Self {
        match base {
            None => Self { office: 8443, internet: 8444, provider: 9480, applications: 9481..9481 + APPLICATIONS },
            Some(base) => Self {
                office: base,
                internet: base + 1,
                provider: base + 2,
                applications: base + 3..base + 3 + APPLICATIONS,
            },
        }
    }

    /// The text with these ports instead of the usual ones. Whole numbers only, in one pass, so that a port that
    /// was put in is not replaced again.
    pub fn write_into(&self, text: &str) -> String {
        let ours = [self.office, self.internet, self.provider].into_iter().chain(self.applications.clone());
        let table: Vec<(String, String)> =
            USUAL.iter().zip(ours).map(|(usual, ours)| (usual.to_string(), ours.to_string())).collect();
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, from) = rest.split_at(start);
            let (number, after) = from.split_at(from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len()));
            out.push_str(before);
            out.push_str(table.iter().find(|(usual, _)| usual == number).map_or(number, |(_, ours)| ours));
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ports_change_nothing() {
        let text = include_str!("../torhaus.yaml");
        assert_eq!(Ports::new(None).write_into(text), text);
    }

    #[test]
    fn every_usual_port_stands_in_the_file_and_moves_once() {
        let moved = Ports::new(Some(8444)).write_into(include_str!("../torhaus.yaml"));
        for port in 8444..=8453 {
            assert!(moved.contains(&format!(":{port}")), "{port}");
        }
        assert!(!moved.contains(":8443") && !moved.contains(":94"));
    }
}
