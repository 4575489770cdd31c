//! The state of the cluster as `crm_mon --output-as=xml` tells it (Pacemaker 2.0.3 and later). What is not known here is passed over.

use std::collections::BTreeMap;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Members, quorum, attributes and the places of resources at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether this node's partition has quorum. `false` too while the cluster has not settled on a coordinator.
    pub quorum: bool,
    /// All nodes that the cluster knows.
    pub members: Vec<Member>,
    locations: Vec<(String, Location)>,
    attributes: BTreeMap<(String, String), String>,
}

/// A node that the cluster knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the cluster.
    pub name: String,
    /// Corosync's node id; the name again for a remote node.
    pub id: String,
    /// Whether it is in the cluster now. It may be so and in standby.
    pub online: bool,
    /// Whether it is a remote or guest node: it runs resources, and has no vote.
    pub remote: bool,
}

/// A node where a resource is active, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The node's name.
    pub node: String,
    /// The role there.
    pub role: Role,
}

/// What an active resource is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Not promotable, and running.
    Started,
    /// Promoted (`Master` before Pacemaker 2.1).
    Promoted,
    /// Running, not promoted (`Slave` before Pacemaker 2.1).
    Unpromoted,
    /// Anything else (`Starting`, `Stopping`, …), as Pacemaker says it.
    Other(String),
}

impl Status {
    /// Where a resource is active. It is named by its id: all instances of a clone count, with or without number.
    pub fn locations(&self, resource: &str) -> Vec<&Location> {
        let is_it = |id: &str| {
            id.strip_prefix(resource).is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix(':').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
            })
        };
        self.locations.iter().filter(|(id, _)| is_it(id)).map(|(_, location)| location).collect()
    }

    /// The value of an attribute on an online node.
    pub fn attribute(&self, node: &str, name: &str) -> Option<&str> {
        self.attributes.get(&(node.to_owned(), name.to_owned())).map(String::as_str)
    }

    /// Reads the document. `Err` says what is wrong with it.
    pub(crate) fn parse(xml: &str) -> Result<Self, String> {
        let mut status = Self::default();
        let mut reader = Reader::from_str(xml);
        // The elements that we are in, and what of them the inner ones need.
        let mut path: Vec<(String, Element)> = Vec::new();
        let mut begun = false;
        loop {
            match reader.read_event().map_err(|error| error.to_string())? {
                Event::Start(start) => {
                    let element = status.take(&start, &path)?;
                    begun = true;
                    path.push((start.name().as_ref().to_owned(), element));
                }
                Event::Empty(start) => {
                    status.take(&start, &path)?;
                    begun = true;
                }
                Event::End(_) => {
                    path.pop();
                }
                Event::Eof if !begun || !path.is_empty() => return Err("the answer is cut short".into()),
                Event::Eof => break,
                _ => {}
            }
        }
        Ok(status)
    }

    fn take(&mut self, start: &BytesStart<'_>, path: &[(String, Element)]) -> Result<Element, String> {
        let name = start.name();
        let outer = path.last();
        let parent = outer.map_or("", |(name, _)| name.as_str());
        match (path.len(), parent, name.as_ref()) {
            (0, _, "pacemaker-result" | "crm_mon") => {}
            (0, _, other) => return Err(format!("an answer of another kind: <{other}>")),
            (_, "summary", "current_dc") => self.quorum = value(start, "with_quorum")? == Some("true".into()),
            (_, "nodes", "node") => self.members.push(Member {
                name: required(start, "name")?,
                id: value(start, "id")?.unwrap_or_default(),
                online: required(start, "online")? == "true",
                remote: value(start, "type")? == Some("remote".into()),
            }),
            (_, "node_attributes", "node") => return Ok(Element::AttributesOf(required(start, "name")?)),
            (_, _, "resource") if path.iter().any(|(name, _)| name == "resources") => {
                let id = required(start, "id")?;
                let role = value(start, "role")?.unwrap_or_default();
                return Ok(match value(start, "active")?.as_deref() {
                    Some("false") => Element::Other,
                    _ => Element::Resource(id, Role::named(&role)),
                });
            }
            (_, _, "node") => {
                if let Some((_, Element::Resource(id, role))) = outer {
                    let location = Location { node: required(start, "name")?, role: role.clone() };
                    self.locations.push((id.clone(), location));
                }
            }
            (_, _, "attribute") => {
                if let Some((_, Element::AttributesOf(node))) = outer {
                    let key = (node.clone(), required(start, "name")?);
                    self.attributes.insert(key, required(start, "value")?);
                }
            }
            _ => {}
        }
        Ok(Element::Other)
    }
}

/// What an element means for those in it.
enum Element {
    Resource(String, Role),
    AttributesOf(String),
    Other,
}

impl Role {
    fn named(name: &str) -> Self {
        match name {
            "Started" => Self::Started,
            "Promoted" | "Master" => Self::Promoted,
            "Unpromoted" | "Slave" => Self::Unpromoted,
            other => Self::Other(other.to_owned()),
        }
    }
}

fn value(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("<{}>: {error}", start.name().as_ref());
    match start.try_get_attribute(name).map_err(|error| wrong(&error))? {
        None => Ok(None),
        Some(attribute) => {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| wrong(&error))?;
            Ok(Some(value.into_owned()))
        }
    }
}

fn required(start: &BytesStart<'_>, name: &str) -> Result<String, String> {
    value(start, name)?.ok_or_else(|| format!("<{}> has no {name}", start.name().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RECORDED: &str = include_str!("../fixtures/crm_mon.xml");

    #[test]
    fn a_recorded_cluster() {
        let status = Status::parse(RECORDED).unwrap();
        assert!(status.quorum);
        let members: Vec<_> = status.members.iter().map(|it| (&*it.name, &*it.id, it.online)).collect();
        assert_eq!(members, [("n1", "1", true), ("n2", "2", false)]);
        assert!(status.members.iter().all(|it| !it.remote));
        let at = |role| Location { node: "n1".into(), role };
        assert_eq!(status.locations("dum"), [&at(Role::Promoted)]);
        assert_eq!(status.locations("d2"), [&at(Role::Started)]);
        assert!(status.locations("d").is_empty() && status.locations("dum-clone").is_empty());
        assert_eq!(status.attribute("n1", "bascule-lag"), Some("4"));
        assert_eq!(status.attribute("n1", "bascule-neg"), Some("-5"));
        assert_eq!(status.attribute("n1", "bascule-quote"), Some(r#"a "quoted" host="n9" <x> & b"#));
        assert_eq!(status.attribute("n1", "bascule-x"), None, "it was cleared");
        assert_eq!(status.attribute("n2", "bascule-lag"), None, "n2 is away");
    }

    #[test]
    fn a_recorded_cluster_without_quorum() {
        let status = Status::parse(include_str!("../fixtures/crm_mon-no-quorum.xml")).unwrap();
        assert!(!status.quorum);
        assert_eq!(status.members.iter().filter(|it| it.online).count(), 1);
        assert_eq!(status.members.len(), 3);
    }

    #[test]
    fn numbered_instances_bundles_and_old_roles() {
        let status = Status::parse(
            r#"<crm_mon version="2.0.3"><resources>
              <clone id="c"><resource id="db:0" role="Master" active="true"><node name="a"/></resource>
              <resource id="db:1" role="Slave" active="true"><node name="b"/></resource>
              <resource id="db:x" role="Started" active="true"><node name="c"/></resource></clone>
              <bundle id="b"><replica id="0"><resource id="in" role="Stopping" active="true"><node name="g"/></resource></replica></bundle>
              <resource id="off" role="Stopped" active="false"><node name="a"/></resource>
            </resources><node_history><node name="a"><resource_history id="db"/></node></node_history></crm_mon>"#,
        )
        .unwrap();
        let at = |node: &str, role| Location { node: node.into(), role };
        assert_eq!(status.locations("db"), [&at("a", Role::Promoted), &at("b", Role::Unpromoted)]);
        assert_eq!(status.locations("in"), [&at("g", Role::Other("Stopping".into()))]);
        assert!(status.locations("off").is_empty());
        assert!(!status.quorum && status.members.is_empty());
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for (xml, reason) in [
            ("<html/>", "an answer of another kind: <html>"),
            ("<pacemaker-result><nodes>", "the answer is cut short"),
            ("<pacemaker-result><nodes><node id='1'/></nodes></pacemaker-result>", "<node> has no name"),
        ] {
            assert_eq!(Status::parse(xml), Err(reason.into()));
        }
        assert!(Status::parse("<pacemaker-result><nodes></oops></pacemaker-result>").is_err());
        for length in 0..RECORDED.trim_end().len() {
            assert!(Status::parse(&RECORDED[..length]).is_err(), "{length} bytes of it");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Status::parse(&text);
        }

        #[test]
        fn any_damage_is_read_or_refused(at in 0..RECORDED.len(), length in 0usize..40, new in "[<>&\"'=/a-z]{0,8}") {
            let end = (at + length).min(RECORDED.len());
            if RECORDED.is_char_boundary(at) && RECORDED.is_char_boundary(end) {
                let _ = Status::parse(&format!("{}{new}{}", &RECORDED[..at], &RECORDED[end..]));
            }
        }
    }
}
