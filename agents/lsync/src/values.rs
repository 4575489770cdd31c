//! The types of this agent's parameters: pure, each says what it accepts.

use ocf::{Kind, Value};

/// A node of the dataset, `NAME` or `NAME=ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerSpec {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// Where it is reached, if that is not for Corosync's configuration to tell.
    pub(crate) address: Option<String>,
}

impl Value for PeerSpec {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = || "the name of a node, or NAME=ADDRESS".to_owned();
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name, Some(address)),
            None => (text, None),
        };
        if !is_host(name) || address.is_some_and(|address| !is_host(address)) {
            return Err(accepts());
        }
        Ok(PeerSpec { name: name.to_owned(), address: address.map(str::to_owned) })
    }
}

/// Whether it can be a host's name or address: what stands in a URL, in a file's name and in the cluster's record.
pub(crate) fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:%".contains(&byte);
    !text.is_empty() && text.len() <= 255 && !text.starts_with(['-', '.']) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_have_a_name_and_perhaps_an_address() {
        let peer = |name: &str, address: Option<&str>| {
            Ok(PeerSpec { name: name.to_owned(), address: address.map(str::to_owned) })
        };
        assert_eq!(PeerSpec::parse("sv1.home.dom"), peer("sv1.home.dom", None));
        assert_eq!(PeerSpec::parse("sv1=192.0.2.1"), peer("sv1", Some("192.0.2.1")));
        assert_eq!(PeerSpec::parse("sv1=fe80::1%eth0"), peer("sv1", Some("fe80::1%eth0")));
        for text in ["", "=", "a=", "=b", "-x", "a b", "a/b", "a=b=c", "a,b", "a=b@c", "é", "a=-e"] {
            assert!(PeerSpec::parse(text).is_err(), "{text}");
        }
    }
}
