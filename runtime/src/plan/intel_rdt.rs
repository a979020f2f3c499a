//! `linux.intelRdt`: the class of service and what it may use.

use super::refusal::{Refusal, Result};

/// What is asked of the resctrl file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntelRdt {
    /// Name of the group; `/` is the root group, `None` the container's id.
    pub clos_id: Option<String>,
    /// Lines for `schemata`: of l3CacheSchema, then memBwSchema, then schemata.
    pub schemata: Vec<String>,
    /// Whether the container is monitored by itself.
    pub monitoring: bool,
    /// Whether l3CacheSchema is given.
    pub l3_cache_schema: bool,
    /// Whether memBwSchema is given.
    pub mem_bw_schema: bool,
}

impl IntelRdt {
    /// Checks the properties; an empty text counts as absent.
    pub fn plan(
        clos_id: Option<&str>,
        l3: Option<&str>,
        mb: Option<&str>,
        schemata: &[String],
        monitoring: bool,
    ) -> Result<Self> {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (l3, mb) = (given(l3), given(mb));
        let mut lines: Vec<String> = Vec::new();
        for line in l3.iter().flat_map(|text| text.lines()) {
            // config-linux.md: then the bandwidth is that of memBwSchema.
            if mb.is_none() || !line.trim_start().starts_with("MB:") {
                lines.push(line.to_owned());
            }
        }
        lines.extend(mb.iter().flat_map(|text| text.lines()).map(str::to_owned));
        lines.extend(schemata.iter().cloned());
        for (index, line) in schemata.iter().enumerate() {
            if line.contains('\n') {
                let pointer = format!("/linux/intelRdt/schemata/{index}");
                return Err(Refusal::new(pointer, "has a line break"));
            }
        }
        lines.retain(|line| !line.trim().is_empty());
        Ok(Self {
            clos_id: given(clos_id).map(name).transpose()?,
            schemata: lines,
            monitoring,
            l3_cache_schema: l3.is_some(),
            mem_bw_schema: mb.is_some(),
        })
    }
}

/// One name in the resctrl file system, or `/`.
fn name(clos_id: String) -> Result<String> {
    // What is there beside the groups.
    let taken = ["info", "mon_groups", "mon_data"];
    let bad = |c: char| c == '/' || c == '\n' || c == '\0';
    let illegal = matches!(clos_id.as_str(), "." | "..")
        || clos_id.contains(bad)
        || taken.contains(&clos_id.as_str());
    if illegal && clos_id != "/" {
        let reason = format!("invalid intelRdt.ClosID {clos_id:?}");
        return Err(Refusal::new("/linux/intelRdt/closID", reason));
    }
    Ok(clos_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_come_in_the_order_of_the_specification() {
        let more = ["L2:0=f".to_owned()];
        let rdt =
            IntelRdt::plan(None, Some("L3:0=f\nMB:0=10"), Some("MB:0=20"), &more, false).unwrap();
        assert_eq!(rdt.schemata, ["L3:0=f", "MB:0=20", "L2:0=f"]);
        let alone = IntelRdt::plan(None, Some("L3:0=f\nMB:0=10"), None, &[], false).unwrap();
        assert_eq!(alone.schemata, ["L3:0=f", "MB:0=10"]);
    }

    #[test]
    fn a_class_of_service_is_one_name() {
        let plan = |name: &str| IntelRdt::plan(Some(name), None, None, &[], false);
        assert!(plan("batch").is_ok() && plan("/").is_ok() && plan("").unwrap().clos_id.is_none());
        for bad in ["a/b", "..", ".", "a\nb", "info", "/a"] {
            let error = plan(bad).unwrap_err();
            assert!(error.reason.contains("invalid intelRdt.ClosID"), "{bad:?}");
        }
    }
}
