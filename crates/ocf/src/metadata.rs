//! The metadata document of an agent, written from its declaration.
//!
//! One document that passes ocf-tester's DTD (hence the DOCTYPE with an internal subset for what OCF 1.1 added), the
//! RELAX NG schema of OCF RA API 1.1 and pcs.

use crate::action::Advertised;
use crate::parameters::{Parameter, paragraphs};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use std::io;

/// All that the documents about an agent are written from.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The agent's name, as in `ocf:bascule:NAME`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// One line on what it does.
    pub short: &'static str,
    /// The whole story, in paragraphs.
    pub long: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// Its actions.
    pub actions: &'static [Advertised],
}

impl Description {
    /// The paragraphs of the long description.
    pub(crate) fn long_paragraphs(&self) -> Vec<String> {
        paragraphs(self.long)
    }
}

const DOCTYPE: &str = r#"resource-agent SYSTEM "ra-api-1.dtd" [
<!ATTLIST parameter unique-group CDATA #IMPLIED reloadable (0|1) "0">
<!ATTLIST action name CDATA #REQUIRED>
]"#;

/// The metadata document (OCF RA API 1.1, "meta-data").
///
/// # Errors
/// Those of the XML writer, which has none of its own when writing to memory.
pub fn metadata(about: &Description) -> io::Result<String> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.write_event(Event::DocType(BytesText::from_escaped(DOCTYPE)))?;
    xml.create_element("resource-agent")
        .with_attribute(("name", about.name))
        .with_attribute(("version", about.version))
        .write_inner_content(|xml| {
            xml.create_element("version").write_text_content(BytesText::new("1.1"))?;
            descriptions(xml, about.short, &about.long_paragraphs())?;
            xml.create_element("parameters")
                .write_inner_content(|xml| about.parameters.iter().try_for_each(|row| parameter(xml, row)))?;
            xml.create_element("actions")
                .write_inner_content(|xml| about.actions.iter().try_for_each(|line| action(xml, line)))?;
            Ok(())
        })?;
    let mut text = String::from_utf8_lossy(&xml.into_inner()).into_owned();
    text.push('\n');
    Ok(text)
}

fn descriptions(xml: &mut Writer<Vec<u8>>, short: &str, long: &[String]) -> io::Result<()> {
    xml.create_element("longdesc")
        .with_attribute(("lang", "en"))
        .write_text_content(BytesText::new(&long.join("\n\n")))?;
    xml.create_element("shortdesc")
        .with_attribute(("lang", "en"))
        .write_text_content(BytesText::new(short))?;
    Ok(())
}

fn parameter(xml: &mut Writer<Vec<u8>>, row: &Parameter) -> io::Result<()> {
    let truth = |value| if value { "1" } else { "0" };
    let mut element = xml
        .create_element("parameter")
        .with_attribute(("name", row.name))
        .with_attribute(("required", truth(row.required)))
        .with_attribute(("reloadable", truth(row.reloadable)));
    if let Some(group) = row.unique_group {
        element = element.with_attribute(("unique-group", group));
    }
    element.write_inner_content(|xml| {
        descriptions(xml, row.short(), &row.long())?;
        let mut content = xml.create_element("content").with_attribute(("type", row.kind.name()));
        if let Some(default) = row.default {
            content = content.with_attribute(("default", default));
        }
        content.write_empty()?;
        Ok(())
    })?;
    Ok(())
}

fn action(xml: &mut Writer<Vec<u8>>, line: &Advertised) -> io::Result<()> {
    let mut element = xml.create_element("action").with_attribute(("name", line.action.name()));
    if let Some(role) = line.role {
        element = element.with_attribute(("role", role.name()));
    }
    let seconds = |number: u32| format!("{number}s");
    element = element.with_attribute(("timeout", seconds(line.timeout).as_str()));
    if let Some(interval) = line.interval {
        element = element.with_attribute(("interval", seconds(interval).as_str()));
        element = element.with_attribute(("depth", line.depth.to_string().as_str()));
    }
    element.write_empty()?;
    Ok(())
}
