//! The country of an address, from a database in MaxMind's format. Knows both spellings: MaxMind's own
//! (`country.iso_code`) and the flat one of free databases (`country_code`).
use crate::lookup::data_file::DataFile;
use maxminddb::{LookupResult, Reader, WithinOptions, path};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use torhaus_authz::{Country, Fact, Timestamp, Why};

/// Databases of countries have 10 MB, those of cities 60 to 120.
const MAX_BYTES: u64 = 256 << 20;

pub struct GeoIp(DataFile<Reader<Vec<u8>>>);

impl GeoIp {
    pub fn open(file: &Path, now: Timestamp) -> Self {
        Self(DataFile::open(file, MAX_BYTES, parse, now))
    }

    pub fn country(&self, address: IpAddr, now: Timestamp) -> Fact<Country> {
        if is_local(address.to_canonical()) {
            return Fact::Unknown(Why::NotFound);
        }
        // A database that is gone may have been taken away because it was wrong: no patience.
        let reader = match self.0.get(Duration::ZERO, now) {
            Ok(reader) => reader,
            Err(why) => return Fact::Unknown(why),
        };
        match code(&reader, address) {
            Ok(Some(code)) => Country::parse(code).map_or(Fact::Unknown(Why::NotFound), Fact::Known),
            Ok(None) => Fact::Unknown(Why::NotFound),
            Err(_) => Fact::Unknown(Why::SourceDown),
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn refresh(&self, now: Timestamp) {
        self.0.refresh(now);
    }

    pub fn problem(&self) -> Option<String> {
        self.0.problem()
    }
}

/// Private, link-local or shared by a carrier (RFC 6890): the same address is in every country, whatever a
/// database says. Free ones list 192.168.0.0/16 as Australia.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

fn parse(bytes: Vec<u8>) -> Result<Reader<Vec<u8>>, String> {
    let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
    // All of it, once: half a file has a whole end, where the metadata is. Not `verify`, which refuses what free
    // databases leave empty, such as a description.
    for network in reader.networks(WithinOptions::default()).map_err(|error| error.to_string())? {
        network.and_then(|found| code_of(&found).map(drop)).map_err(|error| error.to_string())?;
    }
    Ok(reader)
}

fn code(reader: &Reader<Vec<u8>>, address: IpAddr) -> Result<Option<&str>, maxminddb::MaxMindDbError> {
    code_of(&reader.lookup(address.to_canonical())?)
}

fn code_of<'a>(found: &LookupResult<'a, Vec<u8>>) -> Result<Option<&'a str>, maxminddb::MaxMindDbError> {
    let nested = found.decode_path(&path!["country", "iso_code"])?;
    match nested {
        Some(code) => Ok(Some(code)),
        None => found.decode_path(&path!["country_code"]),
    }
}
