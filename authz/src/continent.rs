//! Which continent a country is on, by the seven codes of GeoNames, which GeoIP databases use, too. Countries on two
//! continents are where GeoNames puts them: Russia and Cyprus in Europe, Turkey and Kazakhstan in Asia, Egypt in Africa.
use crate::facts::Country;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Continent {
    Africa,
    Antarctica,
    Asia,
    Europe,
    NorthAmerica,
    Oceania,
    SouthAmerica,
}

use Continent::{Africa, Antarctica, Asia, Europe, NorthAmerica, Oceania, SouthAmerica};

/// Code, continent, its countries (ISO 3166-1 alpha-2, sorted).
const CONTINENTS: [(&str, Continent, &str); 7] = [
    (
        "AF",
        Africa,
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE \
         NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    ("AN", Antarctica, "AQ BV GS HM TF"),
    (
        "AS",
        Asia,
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM \
         PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        "EU",
        Europe,
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK \
         MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        "NA",
        NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT \
         US VC VG VI",
    ),
    ("OC", Oceania, "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS"),
    ("SA", SouthAmerica, "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

impl Continent {
    /// By its code: `EU`.
    pub fn parse(text: &str) -> Option<Self> {
        CONTINENTS.iter().find(|(code, ..)| *code == text).map(|(_, continent, _)| *continent)
    }

    /// Every code, for hints.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        CONTINENTS.iter().map(|(code, ..)| *code)
    }

    pub fn code(self) -> &'static str {
        CONTINENTS.iter().find(|(_, own, _)| *own == self).map_or("??", |(code, ..)| code)
    }

    /// `None` for a code that is no country's.
    pub fn of(country: Country) -> Option<Self> {
        let on = |countries: &str| countries.split(' ').any(|code| code == country.as_str());
        CONTINENTS.iter().find(|(.., countries)| on(countries)).map(|(_, continent, _)| *continent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_country_is_on_one_continent() {
        let all: Vec<&str> = CONTINENTS.iter().flat_map(|(.., countries)| countries.split(' ')).collect();
        let once: BTreeSet<&str> = all.iter().copied().collect();
        // The 249 of ISO 3166-1, and Kosovo, which databases call XK.
        assert_eq!((all.len(), once.len()), (250, 250));
        for (code, expected) in [("DE", "EU"), ("RU", "EU"), ("TR", "AS"), ("US", "NA"), ("BR", "SA"), ("EG", "AF")] {
            assert_eq!(Continent::of(Country::parse(code).unwrap()).map(Continent::code), Some(expected), "{code}");
        }
        assert_eq!(Continent::of(Country::parse("ZZ").unwrap()), None);
        assert_eq!(Continent::codes().count(), 7);
        for code in Continent::codes() {
            assert_eq!(Continent::parse(code).map(Continent::code), Some(code));
        }
    }
}
