//! Which servers there are to test with, and what each of them wants to be started with.
//!
//! Most are distributions for tests, which lack modules that the real ones have (lifecycle policies, most processors of ingest
//! pipelines); Elasticsearch 6 comes whole.

use super::fetch;
use super::java::Need;

/// The two families of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// OpenSearch.
    OpenSearch,
    /// Elasticsearch.
    Elasticsearch,
}

impl Product {
    /// Its name as its makers write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenSearch => "OpenSearch",
            Self::Elasticsearch => "Elasticsearch",
        }
    }

    /// The name in lower case, which is also that of its programs and files.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::OpenSearch => "opensearch",
            Self::Elasticsearch => "elasticsearch",
        }
    }

    /// What the variables of its start script begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::OpenSearch => "OPENSEARCH",
            Self::Elasticsearch => "ES",
        }
    }
}

/// One version of a server, as Maven Central has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The family.
    pub product: Product,
    /// The version.
    pub version: &'static str,
    /// The SHA-256 of the zip, in lower-case hexadecimal.
    pub sha256: &'static str,
    /// The Java it runs on.
    pub java: Need,
    /// The group of the zip.
    pub(super) group: &'static str,
    /// What it calls the port between nodes.
    pub(super) transport_port: &'static str,
    /// Lines of its YAML file without which it does not start, or not alone.
    pub(super) settings: &'static [&'static str],
    /// Lines of its `jvm.options` that it needs on a Java which is newer than itself.
    pub(super) java_options: &'static [&'static str],
}

/// The newest OpenSearch 1.x.
pub const OPENSEARCH_1: Release = Release {
    version: "1.3.20",
    sha256: "031e0cdcd14c7a5b9907dff8050fff76c7c2892c7313ea83c4a0bfbaae9265e3",
    ..OPENSEARCH_2
};

/// The newest OpenSearch 2.x.
pub const OPENSEARCH_2: Release = Release {
    product: Product::OpenSearch,
    version: "2.19.6",
    sha256: "71d6d8b1c637f3faecda0752b184b1cc526fc6eaad59ec1408c6327bb00b9293",
    java: Need::Exactly(17),
    group: "org.opensearch.distribution.integ-test-zip",
    transport_port: "transport.port",
    settings: &[],
    java_options: &[],
};

/// The newest OpenSearch 3.x.
pub const OPENSEARCH_3: Release = Release {
    version: "3.6.0",
    sha256: "a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286",
    java: Need::AtLeast(21),
    ..OPENSEARCH_2
};

/// The newest Elasticsearch 6.x.
pub const ELASTICSEARCH_6: Release = Release {
    version: "6.8.23",
    sha256: "490e9b9fbab9ffb3499938c45850318bd6554d439497842450b60ef22c114fb6",
    group: "org.elasticsearch.distribution.zip",
    transport_port: "transport.tcp.port",
    // Machine learning has programs of its own that would have to be started.
    settings: &["xpack.security.enabled: false", "xpack.ml.enabled: false"],
    java_options: &[
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        "--add-opens=java.base/java.net=ALL-UNNAMED",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/java.security=ALL-UNNAMED",
        "--add-opens=java.base/java.util=ALL-UNNAMED",
        "-Djava.security.manager=allow",
    ],
    ..ELASTICSEARCH_8
};

/// The last Elasticsearch under the Apache licence.
pub const ELASTICSEARCH_7_10: Release = Release {
    version: "7.10.2",
    sha256: "38a4232a9b8506235c8a2b6a24cdf3732b2c2aa4b8026c89063e038a610c9f4c",
    settings: &[],
    ..ELASTICSEARCH_8
};

/// The newest Elasticsearch 7.x.
pub const ELASTICSEARCH_7: Release = Release {
    version: "7.17.29",
    sha256: "841ee00be1a72ba8e707b5a2fb55f23fe7a4184369b4585393238b1c903eedaf",
    ..ELASTICSEARCH_8
};

/// The newest Elasticsearch 8.x.
pub const ELASTICSEARCH_8: Release = Release {
    product: Product::Elasticsearch,
    version: "8.19.21",
    sha256: "215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a",
    java: Need::Exactly(17),
    group: "org.elasticsearch.distribution.integ-test-zip",
    transport_port: "transport.port",
    settings: &["xpack.security.enabled: false"],
    java_options: &[],
};

/// The newest Elasticsearch 9.x that resolves and starts.
pub const ELASTICSEARCH_9: Release = Release {
    version: "9.2.0",
    sha256: "bf44938a0490ba2a303d39c9cb64b38963dd08c812ce93e10816e878585bcb6b",
    java: Need::AtLeast(21),
    ..ELASTICSEARCH_8
};

/// Every release that is to be supported, from the oldest of each family on.
pub const ALL: [Release; 8] = [
    OPENSEARCH_1,
    OPENSEARCH_2,
    OPENSEARCH_3,
    ELASTICSEARCH_6,
    ELASTICSEARCH_7_10,
    ELASTICSEARCH_7,
    ELASTICSEARCH_8,
    ELASTICSEARCH_9,
];

impl Release {
    /// `opensearch-2.19.6`: the name of its zip and its folders.
    pub fn name(&self) -> String {
        format!("{}-{}", self.product.program(), self.version)
    }

    pub(super) fn artifact(&self) -> fetch::Artifact {
        fetch::Artifact {
            group: self.group,
            name: self.product.program(),
            version: self.version,
            kind: "zip",
            sha256: self.sha256,
            folder: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn knows_where_maven_puts_a_release() {
        assert_eq!(
            OPENSEARCH_2.artifact().path_in_repository(),
            Path::new(
                "org/opensearch/distribution/integ-test-zip/opensearch/2.19.6/opensearch-2.19.6.zip"
            )
        );
        assert_eq!(
            ELASTICSEARCH_8.artifact().coordinates(),
            "org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.19.21:zip"
        );
        assert_eq!(
            ELASTICSEARCH_6.artifact().coordinates(),
            "org.elasticsearch.distribution.zip:elasticsearch:6.8.23:zip"
        );
    }
}
