//! No cluster runs, as under ocf-tester.

use cluster::{Cluster, Written};

use crate::{APART, ample, inside, run_inside};

#[test]
fn nothing_is_fatal_and_no_tool_is_run_to_write() {
    let Some(_) = inside() else {
        return run_inside(&APART, "none::nothing_is_fatal_and_no_tool_is_run_to_write", "", &[]);
    };
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(ample()).remembering(directory.path().join("memory"));
    for written in [
        cluster.attribute_set("bascule-test", "1"),
        cluster.attribute_clear("bascule-test"),
        cluster.promotion_score_set("r", 1),
        cluster.promotion_score_clear("r"),
    ] {
        let Written::NoCluster(reason) = written else { panic!("{written:?}") };
        assert_eq!(reason.to_string(), "pacemaker-attrd does not run on this node");
    }
    assert!(!directory.path().join("memory").exists(), "nothing to remember");
    for (tool, reason) in [
        ("crm_node", cluster.node_name().unwrap_err()),
        ("crm_mon", cluster.status().unwrap_err()),
        ("crm_attribute", cluster.option("stonith-enabled").unwrap_err()),
        ("crm_attribute", cluster.property_set("bascule-test", "1").unwrap_err()),
        ("cibadmin", cluster.property_swap("bascule-test", None, "1").unwrap_err()),
        ("cibadmin", cluster.property_swap("bascule-test", Some("0"), "1").unwrap_err()),
        ("attrd_updater", cluster.attribute_everywhere("bascule-test").unwrap_err()),
    ] {
        let reason = reason.to_string();
        assert!(reason.starts_with(tool) && reason.contains("exit code 102"), "{reason}");
        assert_eq!(reason.lines().count(), 1);
    }
}

#[test]
fn without_the_tools() {
    let Some(_) = inside() else {
        let missing = [("OCF_TESTER_FAIL_HAVE_BINARY", "1")];
        return run_inside(&APART, "none::without_the_tools", "", &missing);
    };
    let cluster = Cluster::new(ample());
    assert_eq!(cluster.node_name().unwrap_err().to_string(), "crm_node: command not found");
    assert!(matches!(cluster.attribute_set("bascule-test", "1"), Written::NoCluster(_)));
}
