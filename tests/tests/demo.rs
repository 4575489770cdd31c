//! The demo, as `make demo` plays it: it is how people meet the project, so it has to work.

use std::process::{Command, Stdio};

#[test]
fn the_demo_plays_to_its_end_and_tells_the_outage() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .env("DEMO_LABEL", format!("test-{}", std::process::id()))
        .env_remove("KEEP")
        .stdin(Stdio::null())
        .output()
        .expect("the demo starts");
    let shown = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{complained}");
    for part in [
        "pcs resource create vip ocf:bascule:vip",
        "* vip\t(ocf:bascule:vip):\t Started",
        "The client was without its address for",
        "is a member again",
        "pcs resource create shop ocf:bascule:lsync",
        "order-3:three lamps, the newest",
        "files/order-2:two tables, not sent yet",
        "pcs resource create conf ocf:bascule:csync",
        "conflicts 1: /etc/shop.d/hours with n2",
        "held back: /etc/shop.d, 1 gone",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    assert!(!shown.contains('\u{1b}'), "colours are for terminals only: {shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "it fits into 100 columns: {shown}");
}
