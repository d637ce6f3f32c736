//! The fields of MaxMind's databases: their names in both layouts, which kind of database has
//! which, and how they are read out of a record.

use maxminddb::{LookupResult, MaxMindDbError, geoip2};

use crate::filter::OwnedValue;

/// A field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Asn,
    AsOrganization,
    CityName,
    CountryName,
    ContinentCode,
    ContinentName,
    CountryCode2,
    CountryCode3,
    Domain,
    Ip,
    Isp,
    PostalCode,
    DmaCode,
    RegionName,
    RegionCode,
    RegionIsoCode,
    Timezone,
    Location,
    Latitude,
    Longitude,
    Organization,
    Network,
    HostingProvider,
    TorExitNode,
    AnonymousVpn,
    Anonymous,
    PublicProxy,
    ResidentialProxy,
}

type Keys = &'static [&'static str];

/// Each field with its place in the layout without and with the Elastic Common Schema.
///
/// INVARIANT: in the order of [`Field`].
pub(super) const FIELDS: &[(Field, Keys, Keys)] = &[
    (Field::Asn, &["asn"], &["as", "number"]),
    (
        Field::AsOrganization,
        &["as_org"],
        &["as", "organization", "name"],
    ),
    (Field::CityName, &["city_name"], &["geo", "city_name"]),
    (
        Field::CountryName,
        &["country_name"],
        &["geo", "country_name"],
    ),
    (
        Field::ContinentCode,
        &["continent_code"],
        &["geo", "continent_code"],
    ),
    (
        Field::ContinentName,
        &["continent_name"],
        &["geo", "continent_name"],
    ),
    (
        Field::CountryCode2,
        &["country_code2"],
        &["geo", "country_iso_code"],
    ),
    (Field::CountryCode3, &["country_code3"], &[]),
    (Field::Domain, &["domain"], &["domain"]),
    (Field::Ip, &["ip"], &["ip"]),
    (Field::Isp, &["isp"], &["mmdb", "isp"]),
    (Field::PostalCode, &["postal_code"], &["geo", "postal_code"]),
    (Field::DmaCode, &["dma_code"], &["mmdb", "dma_code"]),
    (Field::RegionName, &["region_name"], &["geo", "region_name"]),
    (Field::RegionCode, &["region_code"], &["geo", "region_code"]),
    (
        Field::RegionIsoCode,
        &["region_iso_code"],
        &["geo", "region_iso_code"],
    ),
    (Field::Timezone, &["timezone"], &["geo", "timezone"]),
    (Field::Location, &["location"], &["geo", "location"]),
    (Field::Latitude, &["latitude"], &["geo", "location", "lat"]),
    (
        Field::Longitude,
        &["longitude"],
        &["geo", "location", "lon"],
    ),
    (
        Field::Organization,
        &["organization"],
        &["mmdb", "organization"],
    ),
    (Field::Network, &["network"], &["ip_traits", "network"]),
    (
        Field::HostingProvider,
        &["hosting_provider"],
        &["ip_traits", "hosting_provider"],
    ),
    (
        Field::TorExitNode,
        &["tor_exit_node"],
        &["ip_traits", "tor_exit_node"],
    ),
    (
        Field::AnonymousVpn,
        &["anonymous_vpn"],
        &["ip_traits", "anonymous_vpn"],
    ),
    (
        Field::Anonymous,
        &["anonymous"],
        &["ip_traits", "anonymous"],
    ),
    (
        Field::PublicProxy,
        &["public_proxy"],
        &["ip_traits", "public_proxy"],
    ),
    (
        Field::ResidentialProxy,
        &["residential_proxy"],
        &["ip_traits", "residential_proxy"],
    ),
];

impl Field {
    /// The place in [`FIELDS`].
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// The field of a name, in letters of either case.
    pub(super) fn find(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "autonomous_system_number" => return Some(Self::Asn),
            "autonomous_system_organization" => return Some(Self::AsOrganization),
            _ => {}
        }
        let found = FIELDS.iter().find(|(_, legacy, _)| legacy[0] == name);
        found.map(|(field, _, _)| *field)
    }
}

/// What kind a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    City,
    Country,
    Domain,
    Asn,
    Isp,
    Enterprise,
    AnonymousIp,
}

const CITY: &[Field] = &[
    Field::Ip,
    Field::CityName,
    Field::ContinentCode,
    Field::CountryName,
    Field::CountryCode2,
    Field::CountryCode3,
    Field::PostalCode,
    Field::DmaCode,
    Field::RegionName,
    Field::RegionCode,
    Field::Timezone,
    Field::Location,
    Field::Latitude,
    Field::Longitude,
];

const CITY_ECS: &[Field] = &[
    Field::Ip,
    Field::CityName,
    Field::ContinentCode,
    Field::CountryName,
    Field::CountryCode2,
    Field::PostalCode,
    Field::DmaCode,
    Field::RegionName,
    Field::RegionIsoCode,
    Field::Timezone,
    Field::Location,
];

impl Kind {
    /// The kind by the name that is written in the database.
    pub(super) fn of_database(name: &str) -> Option<Self> {
        let kinds = [
            ("City", Self::City),
            ("Country", Self::Country),
            ("GeoIP2-Domain", Self::Domain),
            ("GeoLite2-ASN", Self::Asn),
            ("GeoIP2-ISP", Self::Isp),
            ("Enterprise", Self::Enterprise),
            ("GeoIP2-Anonymous-IP", Self::AnonymousIp),
        ];
        let found = kinds.iter().find(|(part, _)| name.contains(part));
        found.map(|(_, kind)| *kind)
    }

    /// The fields that are put into an event unless others are asked for.
    pub(super) fn usual_fields(self, ecs: bool) -> &'static [Field] {
        match self {
            Self::City if ecs => CITY_ECS,
            Self::City => CITY,
            Self::Country => &[
                Field::Ip,
                Field::CountryCode2,
                Field::CountryName,
                Field::ContinentName,
            ],
            Self::Domain => &[Field::Domain],
            Self::Asn => &[Field::Ip, Field::Asn, Field::AsOrganization],
            Self::Isp => &[
                Field::Ip,
                Field::Asn,
                Field::AsOrganization,
                Field::Isp,
                Field::Organization,
            ],
            Self::Enterprise => &[
                Field::Ip,
                Field::CountryCode2,
                Field::CountryName,
                Field::ContinentName,
                Field::RegionIsoCode,
                Field::RegionName,
                Field::CityName,
                Field::Location,
            ],
            Self::AnonymousIp => &[
                Field::HostingProvider,
                Field::TorExitNode,
                Field::AnonymousVpn,
                Field::Anonymous,
                Field::PublicProxy,
                Field::ResidentialProxy,
            ],
        }
    }

    /// Whether the address itself may be asked for.
    pub(super) fn has_ip(self) -> bool {
        self != Self::Domain
    }

    /// Whether the network of the address may be asked for.
    pub(super) fn has_network(self) -> bool {
        matches!(self, Self::Asn | Self::Enterprise)
    }
}

/// What all kinds of records have to say, in one form.
#[derive(Default)]
struct Facts<'r> {
    asn: Option<u32>,
    as_organization: Option<&'r str>,
    city: Option<&'r str>,
    country: Option<&'r str>,
    country_code: Option<&'r str>,
    continent: Option<&'r str>,
    continent_code: Option<&'r str>,
    domain: Option<&'r str>,
    isp: Option<&'r str>,
    organization: Option<&'r str>,
    postal_code: Option<&'r str>,
    metro_code: Option<u16>,
    region: Option<&'r str>,
    region_code: Option<&'r str>,
    time_zone: Option<&'r str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    traits: Traits,
}

/// What is known of who uses an address; a database that does not say so says no.
#[derive(Clone, Copy, Default)]
struct Traits {
    hosting_provider: Option<bool>,
    tor_exit_node: Option<bool>,
    anonymous_vpn: Option<bool>,
    anonymous: Option<bool>,
    public_proxy: Option<bool>,
    residential_proxy: Option<bool>,
}

/// The wanted fields that a record has. The address and its network are not in it.
pub(super) fn read<S: AsRef<[u8]>>(
    found: &LookupResult<'_, S>,
    kind: Kind,
    wanted: &[Field],
) -> Result<Vec<(usize, OwnedValue)>, MaxMindDbError> {
    let Some(facts) = facts(found, kind)? else {
        return Ok(Vec::new());
    };
    // COMPAT: a city without a place on the map counts as not found.
    if kind == Kind::City && facts.latitude.is_none() && facts.longitude.is_none() {
        return Ok(Vec::new());
    }
    let text = |text: Option<&str>| text.map(|text| OwnedValue::Text(text.as_bytes().into()));
    let flag = |flag: Option<bool>| {
        let has_flags = matches!(kind, Kind::AnonymousIp | Kind::Enterprise);
        has_flags.then(|| OwnedValue::Boolean(flag.unwrap_or(false)))
    };
    let traits = facts.traits;
    let mut values = Vec::with_capacity(wanted.len());
    for field in wanted {
        let value = match field {
            Field::Asn => facts.asn.map(|asn| OwnedValue::Integer(asn.into())),
            Field::AsOrganization => text(facts.as_organization),
            Field::CityName => text(facts.city),
            Field::CountryName => text(facts.country),
            Field::ContinentCode => text(facts.continent_code),
            Field::ContinentName => text(facts.continent),
            Field::CountryCode2 | Field::CountryCode3 => text(facts.country_code),
            Field::Domain => text(facts.domain),
            Field::Isp => text(facts.isp),
            Field::PostalCode => text(facts.postal_code),
            Field::DmaCode => facts
                .metro_code
                .map(|code| OwnedValue::Integer(code.into())),
            Field::RegionName => text(facts.region),
            Field::RegionCode => text(facts.region_code),
            Field::RegionIsoCode => match (facts.country_code, facts.region_code) {
                (Some(country), Some(region)) => {
                    let code = format!("{country}-{region}");
                    Some(OwnedValue::Text(code.into_bytes().into()))
                }
                _ => None,
            },
            Field::Timezone => text(facts.time_zone),
            Field::Location => match (facts.latitude, facts.longitude) {
                (Some(latitude), Some(longitude)) => Some(OwnedValue::Object(vec![
                    ("lat".into(), OwnedValue::Float(latitude)),
                    ("lon".into(), OwnedValue::Float(longitude)),
                ])),
                _ => None,
            },
            Field::Latitude => facts.latitude.map(OwnedValue::Float),
            Field::Longitude => facts.longitude.map(OwnedValue::Float),
            Field::Organization => text(facts.organization),
            Field::HostingProvider => flag(traits.hosting_provider),
            Field::TorExitNode => flag(traits.tor_exit_node),
            Field::AnonymousVpn => flag(traits.anonymous_vpn),
            Field::Anonymous => flag(traits.anonymous),
            Field::PublicProxy => flag(traits.public_proxy),
            Field::ResidentialProxy => flag(traits.residential_proxy),
            Field::Ip | Field::Network => None,
        };
        values.extend(value.map(|value| (field.index(), value)));
    }
    Ok(values)
}

fn facts<'r, S: AsRef<[u8]>>(
    found: &LookupResult<'r, S>,
    kind: Kind,
) -> Result<Option<Facts<'r>>, MaxMindDbError> {
    Ok(match kind {
        Kind::City => found.decode::<geoip2::City<'r>>()?.map(|record| {
            let region = record.subdivisions.last();
            Facts {
                city: record.city.names.english,
                country: record.country.names.english,
                country_code: record.country.iso_code,
                continent: record.continent.names.english,
                continent_code: record.continent.code,
                postal_code: record.postal.code,
                metro_code: record.location.metro_code,
                region: region.and_then(|region| region.names.english),
                region_code: region.and_then(|region| region.iso_code),
                time_zone: record.location.time_zone,
                latitude: record.location.latitude,
                longitude: record.location.longitude,
                ..Facts::default()
            }
        }),
        Kind::Enterprise => found.decode::<geoip2::Enterprise<'r>>()?.map(|record| {
            let region = record.subdivisions.last();
            Facts {
                asn: record.traits.autonomous_system_number,
                as_organization: record.traits.autonomous_system_organization,
                city: record.city.names.english,
                country: record.country.names.english,
                country_code: record.country.iso_code,
                continent: record.continent.names.english,
                continent_code: record.continent.code,
                domain: record.traits.domain,
                isp: record.traits.isp,
                organization: record.traits.organization,
                postal_code: record.postal.code,
                metro_code: record.location.metro_code,
                region: region.and_then(|region| region.names.english),
                region_code: region.and_then(|region| region.iso_code),
                time_zone: record.location.time_zone,
                latitude: record.location.latitude,
                longitude: record.location.longitude,
                traits: Traits {
                    hosting_provider: record.traits.is_hosting_provider,
                    tor_exit_node: record.traits.is_tor_exit_node,
                    anonymous_vpn: record.traits.is_anonymous_vpn,
                    anonymous: record.traits.is_anonymous,
                    public_proxy: record.traits.is_public_proxy,
                    residential_proxy: record.traits.is_residential_proxy,
                },
            }
        }),
        Kind::Country => found.decode::<geoip2::Country<'r>>()?.map(|record| Facts {
            country: record.country.names.english,
            country_code: record.country.iso_code,
            continent: record.continent.names.english,
            continent_code: record.continent.code,
            ..Facts::default()
        }),
        Kind::Domain => found.decode::<geoip2::Domain<'r>>()?.map(|record| Facts {
            domain: record.domain,
            ..Facts::default()
        }),
        Kind::Asn => found.decode::<geoip2::Asn<'r>>()?.map(|record| Facts {
            asn: record.autonomous_system_number,
            as_organization: record.autonomous_system_organization,
            ..Facts::default()
        }),
        Kind::Isp => found.decode::<geoip2::Isp<'r>>()?.map(|record| Facts {
            asn: record.autonomous_system_number,
            as_organization: record.autonomous_system_organization,
            isp: record.isp,
            organization: record.organization,
            ..Facts::default()
        }),
        Kind::AnonymousIp => found.decode::<geoip2::AnonymousIp>()?.map(|record| Facts {
            traits: Traits {
                hosting_provider: record.is_hosting_provider,
                tor_exit_node: record.is_tor_exit_node,
                anonymous_vpn: record.is_anonymous_vpn,
                anonymous: record.is_anonymous,
                public_proxy: record.is_public_proxy,
                residential_proxy: record.is_residential_proxy,
            },
            ..Facts::default()
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_at_their_places() {
        for (at, (field, legacy, _)) in FIELDS.iter().enumerate() {
            assert_eq!(field.index(), at);
            assert_eq!(Field::find(legacy[0]), Some(*field));
        }
        assert_eq!(Field::find("CITY_NAME"), Some(Field::CityName));
        assert_eq!(Field::find("x"), None);
    }

    #[test]
    fn kinds_by_the_names_of_databases() {
        for (name, kind) in [
            ("GeoLite2-City", Some(Kind::City)),
            ("DBIP-City-Lite", Some(Kind::City)),
            ("GeoIP2-Country", Some(Kind::Country)),
            ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", Some(Kind::Asn)),
            ("GeoIP2-Enterprise", Some(Kind::Enterprise)),
            ("GeoIP2-Connection-Type", None),
        ] {
            assert_eq!(Kind::of_database(name), kind, "{name}");
        }
    }
}
