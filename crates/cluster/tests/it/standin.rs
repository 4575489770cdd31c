//! Stand-ins for the attribute daemon (a program that sleeps under its name) and for the tools (scripts that note their
//! arguments): for what a real cluster does not show, the number of calls above all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use cluster::{Cluster, Written};

use crate::{APART, ample, inside, run_inside};

/// Runs a test with the stand-ins first in PATH, told their directory.
fn with_standins(test: &str, environment: &[(&str, &str)]) {
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().to_str().unwrap();
    for tool in ["attrd_updater", "crm_attribute", "crm_master"] {
        script(directory.path(), tool, "");
    }
    fs::copy("/bin/sleep", directory.path().join("pacemaker-attrd")).unwrap();
    fs::write(directory.path().join("calls"), "").unwrap();
    let mut environment = environment.to_vec();
    environment.push(("PATH", told));
    // `unshare` is found by the PATH of this process, the tools by that of the test inside.
    let unshare = process::find_tool("unshare").unwrap();
    let mut place = APART;
    place[0] = unshare.to_str().unwrap();
    run_inside(&place, test, told, &environment);
}

fn script(directory: &Path, tool: &str, then: &str) {
    let path = directory.join(tool);
    let text = format!("#!/bin/sh\necho {tool} \"$@\" >> {}/calls\n{then}\n", directory.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn calls(directory: &Path) -> Vec<String> {
    let calls = fs::read_to_string(directory.join("calls")).unwrap();
    fs::write(directory.join("calls"), "").unwrap();
    calls.lines().map(str::to_owned).collect()
}

/// Ended and reaped when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(directory: &Path) -> Daemon {
    let child = Command::new(directory.join("pacemaker-attrd")).arg("1000").spawn().unwrap();
    crate::until("the daemon", || {
        process::Process::of(child.id() as i32).is_some_and(|it| it.name == "pacemaker-attrd")
    });
    Daemon(child)
}

#[test]
fn written_on_change_only() {
    let Some(told) = inside() else { return with_standins("standin::written_on_change_only", &[]) };
    let directory = Path::new(&told);
    let attrd = daemon(directory);
    let cluster = || Cluster::new(ample()).remembering(directory.join("run/r"));
    assert_eq!(cluster().attribute_set("lag", "4"), Written::Written);
    assert_eq!(calls(directory), ["attrd_updater --name=lag --update=4"]);
    for _ in 0..3 {
        assert_eq!(cluster().attribute_set("lag", "4"), Written::Unchanged);
    }
    assert_eq!(calls(directory), [""; 0]);
    assert_eq!(cluster().attribute_set("lag", "5"), Written::Written);
    assert_eq!(cluster().attribute_clear("lag"), Written::Written);
    assert_eq!(cluster().attribute_clear("lag"), Written::Unchanged);
    assert_eq!(
        calls(directory),
        ["attrd_updater --name=lag --update=5", "attrd_updater --name=lag --delete"]
    );
    assert_eq!(
        cluster().afresh().attribute_clear("lag"),
        Written::Written,
        "probes and starts believe nothing"
    );
    assert_eq!(Cluster::new(ample()).attribute_clear("lag"), Written::Written, "no memory, no saving");
    assert_eq!(calls(directory).len(), 2);

    assert_eq!(cluster().promotion_score_set("db:0", -10), Written::Written);
    assert_eq!(cluster().promotion_score_set("db:1", -10), Written::Unchanged);
    assert_eq!(cluster().promotion_score_clear("db"), Written::Written);
    assert_eq!(
        calls(directory),
        ["crm_attribute --promotion=db --update=-10", "crm_attribute --promotion=db --delete"]
    );

    // The cluster services were restarted: what they knew is gone.
    drop(attrd);
    assert!(matches!(cluster().attribute_clear("lag"), Written::NoCluster(_)));
    let _attrd = daemon(directory);
    assert_eq!(cluster().attribute_clear("lag"), Written::Written);
    assert_eq!(cluster().attribute_clear("lag"), Written::Unchanged);
    assert_eq!(calls(directory).len(), 1);

    // What failed is not remembered, what was remembered before it neither.
    script(directory, "attrd_updater", "echo 'Could not update: Connection refused' >&2; exit 102");
    let Written::NoCluster(reason) = cluster().attribute_set("lag", "6") else { panic!() };
    assert_eq!(
        reason.to_string(),
        "attrd_updater --name=lag --update=6: exit code 102: Could not update: Connection refused"
    );
    script(directory, "attrd_updater", "");
    assert_eq!(cluster().attribute_clear("lag"), Written::Written);

    // A memory that cannot be kept costs calls, and nothing else.
    fs::remove_dir_all(directory.join("run")).unwrap();
    fs::write(directory.join("run"), "").unwrap();
    assert_eq!(cluster().attribute_clear("lag"), Written::Written);
    assert_eq!(cluster().attribute_clear("lag"), Written::Written);
}

#[test]
fn a_hung_daemon_costs_no_more_than_the_deadline() {
    let Some(told) = inside() else {
        return with_standins("standin::a_hung_daemon_costs_no_more_than_the_deadline", &[]);
    };
    let directory = Path::new(&told);
    let _attrd = daemon(directory);
    script(directory, "attrd_updater", "exec sleep 1000");
    let cluster = Cluster::new(Instant::now() + Duration::from_millis(100));
    let Written::NoCluster(reason) = cluster.attribute_set("lag", "4") else { panic!() };
    assert!(
        reason.to_string().starts_with("attrd_updater --name=lag --update=4: not done after"),
        "{reason}"
    );
}

#[test]
fn crm_master_where_crm_attribute_is_too_old() {
    let Some(told) = inside() else {
        let old = [("OCF_RESKEY_crm_feature_set", "3.9.0"), ("OCF_RESOURCE_INSTANCE", "db:0")];
        return with_standins("standin::crm_master_where_crm_attribute_is_too_old", &old);
    };
    let directory = Path::new(&told);
    let _attrd = daemon(directory);
    script(directory, "crm_master", &format!("echo instance $OCF_RESOURCE_INSTANCE >> {told}/calls"));
    assert_eq!(Cluster::new(ample()).promotion_score_set("db:0", 5), Written::Written);
    assert_eq!(calls(directory), ["crm_master -l reboot -r db --update=5", "instance db"]);
    assert_eq!(Cluster::new(ample()).on("n1").promotion_score_set("db:0", 6), Written::Written);
    assert_eq!(calls(directory)[0], "crm_master -l reboot -r db --node=n1 --update=6");
    assert_eq!(Cluster::new(ample()).on("").promotion_score_set("db:0", 7), Written::Written);
    assert_eq!(calls(directory)[0], "crm_master -l reboot -r db --update=7");
}
