//! The manual page of an agent (section 7, as the field's other agents have theirs), written from its declaration.

use crate::metadata::Description;
use std::fmt::Write;

/// The page in roff, to be installed as `ocf_bascule_NAME.7`.
pub fn manual(about: &Description) -> String {
    let mut page = String::new();
    let title = format!("OCF_BASCULE_{}", about.name.to_uppercase());
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    line(&format!(".TH {} 7 \"\" \"Bascule {}\" \"OCF resource agents\"", roff(&title), roff(about.version)));
    line(".SH NAME");
    line(&format!("ocf_bascule_{} \\- {}", roff(about.name), roff(about.short)));
    line(".SH SYNOPSIS");
    line(&format!(".B pcs resource create \\fIID\\fP ocf:bascule:{}", roff(about.name)));
    for row in about.parameters.iter().filter(|row| row.required) {
        line(&format!("\\fB{}\\fP=\\fI{}\\fP", roff(row.name), row.kind.name()));
    }
    line("[\\fIOPTION\\fP=\\fIVALUE\\fP ...]");
    line(".SH DESCRIPTION");
    for paragraph in about.long_paragraphs() {
        line(".PP");
        line(&roff(&paragraph));
    }
    line(".SH PARAMETERS");
    for row in about.parameters {
        line(".TP");
        line(&format!("\\fB{}\\fP ({})", roff(row.name), roff(&row.facts())));
        line(&format!("{}.", roff(row.short())));
        for paragraph in row.long_only() {
            line(".IP");
            line(&roff(&paragraph));
        }
    }
    line(".SH ACTIONS");
    for advertised in about.actions {
        let mut text =
            format!(".TP\n.B {}\ntimeout {} s", roff(advertised.action.name()), advertised.timeout);
        if let Some(interval) = advertised.interval {
            let _infallible = write!(text, ", interval {interval} s, OCF_CHECK_LEVEL {}", advertised.depth);
        }
        if let Some(role) = advertised.role {
            let _infallible = write!(text, ", role {}", role.name());
        }
        line(&text);
    }
    line(".SH CALLING IT BY HAND");
    line(".PP");
    line(&format!(
        "\\fB/usr/lib/ocf/resource.d/bascule/{0} \\-o\\fP \\fINAME\\fP=\\fIVALUE\\fP \\fBmonitor\\fP runs one action as \
         Pacemaker would; with \\fB\\-\\-help\\fP it tells more. Pacemaker's own \\fBcrm_resource \\-\\-force\\-check\\fP takes the \
         parameters from the cluster.",
        roff(about.name)
    ));
    line(".SH SEE ALSO");
    line(".BR pcs (8),\n.BR crm_mon (8),\n.BR crm_resource (8),\n.BR pacemaker (7)");
    page
}

/// Text as roff shows it literally: no escapes, no requests at the start of a line, hyphens that can be copied.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

impl crate::Parameter {
    /// Kind, default and the like in a few words.
    pub(crate) fn facts(&self) -> String {
        let mut facts = vec![self.kind.name().to_owned()];
        if self.required {
            facts.push("required".into());
        }
        if let Some(default) = self.default {
            facts.push(format!("default {default}"));
        }
        if let Some(alias) = self.alias {
            facts.push(format!("also {alias}"));
        }
        if self.reloadable {
            facts.push("reloadable".into());
        }
        facts.join(", ")
    }

    /// The long description where it says more than the short one.
    pub(crate) fn long_only(&self) -> Vec<String> {
        self.long().into_iter().filter(|paragraph| paragraph.trim_end_matches('.') != self.short()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_a_request() {
        assert_eq!(roff(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(roff("a\\fB-b"), "a\\efB\\-b");
    }
}
