//! What one node believes of the cluster: `crm_mon --output-as=xml`, read into data.

use anyhow::{Context, Result};
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The designated coordinator, if there is one.
    pub dc: Option<String>,
    /// Whether this node's part of the cluster has quorum.
    pub quorum: bool,
    /// All nodes that the cluster knows.
    pub nodes: Vec<NodeView>,
    /// All resource instances; a clone has one for each copy.
    pub resources: Vec<ResourceView>,
}

/// A node, as another or itself sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are crm_mon's own attributes")]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// A member of the cluster whose Pacemaker answers.
    pub online: bool,
    /// A member whose Pacemaker has not joined yet.
    pub pending: bool,
    /// Lost, and not fenced yet.
    pub unclean: bool,
    /// Takes no resources.
    pub standby: bool,
}

/// A resource instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceView {
    /// Its name, for a unique clone with `:` and its number.
    pub id: String,
    /// Such as `ocf:heartbeat:IPaddr2`.
    pub agent: String,
    /// `Started`, `Stopped`, `Promoted`, `Unpromoted`, `Starting`, …
    pub role: String,
    /// Whether its last operation failed.
    pub failed: bool,
    /// Whether the cluster will not touch it any more.
    pub blocked: bool,
    /// Where it runs.
    pub nodes: Vec<String>,
}

impl View {
    /// Reads crm_mon's XML.
    ///
    /// # Errors
    /// If it is not well-formed XML.
    pub fn parse(xml: &str) -> Result<Self> {
        let mut view = Self::default();
        let mut reader = Reader::from_str(xml);
        let (mut in_nodes, mut in_resource) = (false, false);
        loop {
            let event = reader.read_event().context("crm_mon's XML")?;
            let opens = matches!(event, Event::Start(_));
            match event {
                Event::Start(element) | Event::Empty(element) => match element.name().as_ref() {
                    "nodes" => in_nodes = opens,
                    "resource" => {
                        in_resource = opens;
                        view.resources.push(resource(&element)?);
                    }
                    "current_dc" => {
                        view.dc = get(&element, "name")?;
                        view.quorum = is_true(&element, "with_quorum")?;
                    }
                    "node" if in_nodes => view.nodes.push(node(&element)?),
                    "node" if in_resource => {
                        if let (Some(resource), Some(name)) =
                            (view.resources.last_mut(), get(&element, "name")?)
                        {
                            resource.nodes.push(name);
                        }
                    }
                    _ => {}
                },
                Event::End(element) => match element.name().as_ref() {
                    "nodes" => in_nodes = false,
                    "resource" => in_resource = false,
                    _ => {}
                },
                Event::Eof => return Ok(view),
                _ => {}
            }
        }
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The instances of the resource called `id`: one, or for a clone all its copies.
    pub fn instances<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a ResourceView> {
        self.resources.iter().filter(move |resource| {
            resource.id.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    }

    /// The nodes on which the resource has the role.
    #[must_use]
    pub fn in_role(&self, id: &str, role: &str) -> Vec<String> {
        self.instances(id)
            .filter(|resource| resource.role == role)
            .flat_map(|resource| resource.nodes.clone())
            .collect()
    }
}

fn node(element: &BytesStart<'_>) -> Result<NodeView> {
    Ok(NodeView {
        name: get(element, "name")?.unwrap_or_default(),
        online: is_true(element, "online")?,
        pending: is_true(element, "pending")?,
        unclean: is_true(element, "unclean")?,
        standby: is_true(element, "standby")?,
    })
}

fn resource(element: &BytesStart<'_>) -> Result<ResourceView> {
    Ok(ResourceView {
        id: get(element, "id")?.unwrap_or_default(),
        agent: get(element, "resource_agent")?.unwrap_or_default(),
        role: get(element, "role")?.unwrap_or_default(),
        failed: is_true(element, "failed")?,
        blocked: is_true(element, "blocked")?,
        nodes: Vec::new(),
    })
}

fn is_true(element: &BytesStart<'_>, name: &str) -> Result<bool> {
    Ok(get(element, name)?.as_deref() == Some("true"))
}

fn get(element: &BytesStart<'_>, name: &str) -> Result<Option<String>> {
    let Some(attribute) = element.try_get_attribute(name).context("crm_mon's XML")? else { return Ok(None) };
    Ok(Some(attribute.normalized_value(XmlVersion::Implicit1_0).context("crm_mon's XML")?.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<pacemaker-result api-version="2.25" request="crm_mon --output-as=xml"><summary>
        <current_dc present="true" version="2.1.5" name="n1" id="1" with_quorum="true"/></summary>
        <nodes><node name="n1" id="1" online="true" standby="false" pending="false" unclean="false"/>
        <node name="n2" id="2" online="false" standby="false" pending="false" unclean="true"/></nodes>
        <resources><resource id="vip" resource_agent="ocf:bascule:vip" role="Started" failed="false" blocked="false">
        <node name="n1" id="1" cached="true"/></resource>
        <clone id="tree-clone"><resource id="tree" role="Promoted"><node name="n1"/></resource>
        <resource id="tree" role="Stopped" nodes_running_on="0"/></clone>
        <resource id="vip-two" role="Stopped"/></resources>
        <node_attributes><node name="n1"><attribute name="lag" value="3"/></node></node_attributes></pacemaker-result>"#;

    #[test]
    fn reads_what_crm_mon_says() {
        let view = View::parse(XML).unwrap();
        assert_eq!((view.dc.as_deref(), view.quorum), (Some("n1"), true));
        assert!(view.node("n1").unwrap().online);
        assert!(view.node("n2").unwrap().unclean);
        assert_eq!(view.nodes.len(), 2, "nodes within resources and attributes are not members");
        assert_eq!(view.in_role("vip", "Started"), ["n1"]);
        assert_eq!(view.instances("tree").count(), 2);
        assert_eq!(view.in_role("tree", "Promoted"), ["n1"]);
        assert!(View::parse("<a><b></a>").is_err());
    }
}
