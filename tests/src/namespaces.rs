//! Machines that are Linux namespaces on this host.
//!
//! A *switch*, a process in network, mount and pid namespaces of its own, holds the bridges and the machines' disks. Each
//! *machine* is a process in further namespaces below it. The switch ends when the pipe to the process that made it
//! closes, whatever ends that process; with it the kernel takes every machine, mount and link. So nothing is ever on the
//! host: no interface, no file, no mount.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::attach::{PATH, enter};
use crate::disk::Disk;
use crate::job::Job;
use crate::machines::Machines;
use crate::options::Options;
use crate::plan::{self, CLIENT};

const SWITCH: &str = include_str!("scripts/switch.sh");
const MACHINE: &str = include_str!("scripts/machine.sh");
const FENCE_AGENT: &str = include_str!("scripts/fence_lab.sh");
/// How long the kernel may take to end a machine.
const DEATH: Duration = Duration::from_secs(20);
/// How much of a machine's syslog is kept, in lines.
const SYSLOG_LINES: usize = 5000;

/// The switch and its machines. Dropping it ends them all.
pub(crate) struct Namespaces {
    options: Options,
    switch: Mutex<Child>,
    /// While this is open the switch lives.
    lifeline: Option<ChildStdin>,
    /// The switch's PID 1, as the host numbers it.
    pid: i32,
    machines: BTreeMap<String, Machine>,
    /// Cables that are pulled: machine and network.
    pulled: Mutex<BTreeSet<(String, usize)>>,
}

struct Machine {
    role: &'static str,
    disk: Disk,
    power: Mutex<Option<Running>>,
    syslog: Arc<Mutex<VecDeque<String>>>,
    /// Kept to be closed: that ends the thread that reads it.
    syslog_socket: UnixDatagram,
}

/// A machine that is on.
struct Running {
    /// The `nsenter` through which it was made; ends with it.
    process: Child,
    /// The machine's PID 1, as the host numbers it.
    pid: i32,
}

impl Namespaces {
    /// Makes the switch and the disks. All machines are off.
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let names: Vec<&str> = options.nodes.iter().map(String::as_str).chain([CLIENT]).collect();
        let mut switch = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--propagation", "private", "--fork", "--kill-child", "--"])
            .args(["bash", "-c", SWITCH, "bascule-lab", &options.label, &options.networks.to_string()])
            .args(&names)
            .env_clear()
            .env("PATH", &PATH["PATH=".len()..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot run unshare")?;
        let lifeline = switch.stdin.take();
        let words = switch.stdout.take().context("no pipe")?;
        let Ok(pid) = line(&mut BufReader::new(words))?.parse() else {
            let output = switch.wait_with_output()?;
            bail!(
                "cannot make the lab's switch (are you root?): {}",
                String::from_utf8_lossy(&output.stderr)
            );
        };
        let mut lab = Self {
            options: options.clone(),
            switch: Mutex::new(switch),
            lifeline,
            pid,
            machines: BTreeMap::new(),
            pulled: Mutex::new(BTreeSet::new()),
        };
        for name in names {
            let role = if name == CLIENT { "client" } else { "node" };
            let directory = lab.switch_path(name);
            let disk = Disk::new(directory.join("root"));
            let socket =
                UnixDatagram::bind(directory.join("syslog")).context("cannot make the syslog socket")?;
            let syslog = Arc::new(Mutex::new(VecDeque::new()));
            let (reader, sink) = (socket.try_clone()?, Arc::clone(&syslog));
            spawn(move || gather_syslog(&reader, &sink));
            let power = Mutex::new(None);
            lab.machines
                .insert(name.to_owned(), Machine { role, disk, power, syslog, syslog_socket: socket });
        }
        lab.write_disks()?;
        Ok(lab)
    }

    /// The FIFO on which the fence agents ask for power.
    pub(crate) fn power_requests(&self) -> PathBuf {
        self.switch_path("power/request")
    }

    /// A path below the switch's own file system.
    fn switch_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/mnt/{path}", self.pid))
    }

    fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.get(name).with_context(|| format!("the lab has no machine {name}"))
    }

    fn pid_of(&self, machine: &str) -> Result<i32> {
        let mut power = lock(&self.machine(machine)?.power);
        let running = power.as_mut().with_context(|| format!("{machine} is off"))?;
        match running.process.try_wait()? {
            None => Ok(running.pid),
            Some(status) => bail!("{machine} has died ({status})"),
        }
    }

    /// Gives each machine its own configuration, and takes away what the host has of a cluster.
    fn write_disks(&self) -> Result<()> {
        let mut key = [0; 256];
        fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut key))?;
        for (name, machine) in &self.machines {
            let disk = &machine.disk;
            for directory in [
                "/etc/corosync",
                "/var/lib/corosync",
                "/var/lib/pacemaker/cib",
                "/var/lib/pacemaker/pengine",
                "/var/lib/pacemaker/cores",
                "/var/lib/pacemaker/blackbox",
                "/var/lib/pcsd",
                "/var/lib/bascule",
                "/var/log/corosync",
                "/var/log/pacemaker",
                "/var/log/pcsd",
            ] {
                disk.empty(directory)?;
            }
            disk.write("/etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
            disk.write("/etc/hosts", plan::hosts(&self.options).as_bytes(), 0o644)?;
            disk.write("/etc/lab/network", plan::network_batch(&self.options, name).as_bytes(), 0o644)?;
            disk.write("/var/log/console.log", &[], 0o600)?;
            if machine.role != "node" {
                continue;
            }
            disk.write("/etc/corosync/corosync.conf", plan::corosync_conf(&self.options).as_bytes(), 0o644)?;
            disk.write("/etc/corosync/authkey", &key, 0o400)?;
            disk.write("/var/lib/pacemaker/cib/cib.xml", plan::cib(&self.options).as_bytes(), 0o600)?;
            disk.own("/var/lib/pacemaker/cib/cib.xml", "hacluster", "haclient")?;
            disk.write("/usr/sbin/fence_lab", FENCE_AGENT.as_bytes(), 0o755)?;
            if self.options.agents {
                disk.install_agents(&crate::agents_dir())?;
            }
            for (name, path) in &self.options.further_agents {
                disk.install_agent(name, path)?;
            }
        }
        Ok(())
    }

    /// Runs a batch of `ip` commands in the switch.
    fn ip(&self, batch: &str) -> Result<()> {
        self.in_switch(&["ip", "-batch", "-"], batch)
    }

    /// Runs a tool in the switch's network namespace.
    fn in_switch(&self, tool: &[&str], input: &str) -> Result<()> {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.pid))
            .args(tool)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run nsenter")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("in the switch: {}: {}", input.trim(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Lays the machine's cables; `pid` is where they end.
    fn plug_in(&self, name: &str, pid: i32) -> Result<()> {
        let host = plan::host(&self.options.nodes, name);
        let pulled = lock(&self.pulled);
        let mut batch = String::new();
        let mut cable = |port: &str, interface: &str, mac: [u8; 6], network: usize, state: &str| {
            let mac = plan::mac_text(mac);
            let _ =
                writeln!(batch, "link add {port} type veth peer name {interface} address {mac} netns {pid}");
            let _ = writeln!(batch, "link set {port} master br{network} {state}");
        };
        for network in 0..self.options.networks {
            let state = if pulled.contains(&(name.to_owned(), network)) { "down" } else { "up" };
            let port = plan::port(name, network);
            cable(&port, &format!("eth{network}"), plan::mac(network, host), network, state);
            if name == CLIENT {
                cable(
                    &plan::probe_port(network),
                    &format!("probe{network}"),
                    plan::probe(network).1,
                    network,
                    state,
                );
            }
        }
        self.ip(&batch)
    }

    /// Takes all cables of a machine away. The kernel does that too when it takes the machine's network apart, but at
    /// leisure; whoever comes first, none is left.
    fn unplug(&self, name: &str) -> Result<()> {
        for port in self.ports(name) {
            let deleted = self.ip(&format!("link delete {port}\n"));
            let links = fs::read_to_string(format!("/proc/{}/net/dev", self.pid))?;
            if links.lines().any(|line| line.trim_start().starts_with(&format!("{port}:"))) {
                deleted?;
            }
        }
        Ok(())
    }

    /// The switch's ends of all cables of a machine.
    fn ports(&self, machine: &str) -> Vec<String> {
        let networks = 0..self.options.networks;
        let mut ports: Vec<String> = networks.clone().map(|network| plan::port(machine, network)).collect();
        if machine == CLIENT {
            ports.extend(networks.map(plan::probe_port));
        }
        ports
    }

    fn start_machine(&self, name: &str, machine: &Machine) -> Result<Running> {
        let mut process = Command::new("nsenter")
            .args(["--target", &self.pid.to_string(), "--net", "--mount", "--pid", "--"])
            .args(["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--"])
            .args(["env", "-i", PATH, "LANG=C.UTF-8", "HOME=/root"])
            .args(["bash", "-c", MACHINE, "bascule-lab", &self.options.label, name, machine.role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot run nsenter")?;
        let (go, words) = (process.stdin.take(), process.stdout.take());
        let mut running = Running { process, pid: 0 };
        let mut words = BufReader::new(words.context("no pipe")?);
        if let Ok(pid) = line(&mut words)?.parse() {
            running.pid = pid;
            self.plug_in(name, pid)?;
            writeln!(go.context("no pipe")?, "go")?;
            if line(&mut words)? == "up" {
                return Ok(running);
            }
        }
        drop(words);
        let output = running.process.wait_with_output()?;
        bail!("{name} did not start ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
}

impl Machines for Namespaces {
    fn power_on(&self, name: &str) -> Result<()> {
        let machine = self.machine(name)?;
        let mut power = lock(&machine.power);
        if power.is_none() {
            *power = Some(self.start_machine(name, machine)?);
        }
        Ok(())
    }

    fn power_off(&self, name: &str) -> Result<()> {
        let machine = self.machine(name)?;
        let mut power = lock(&machine.power);
        let Some(running) = power.as_mut() else { return Ok(()) };
        // While `nsenter` runs the number is the machine's own; an error means that it is dying already.
        if running.process.try_wait()?.is_none() {
            let _ = kill(Pid::from_raw(running.pid), Signal::SIGKILL);
        }
        let unplugged = self.unplug(name);
        let started = Instant::now();
        while running.process.try_wait()?.is_none() {
            if started.elapsed() > DEATH {
                bail!("{name} did not die within {} s", DEATH.as_secs());
            }
            sleep(Duration::from_millis(1));
        }
        *power = None;
        unplugged
    }

    fn is_on(&self, machine: &str) -> bool {
        self.pid_of(machine).is_ok()
    }

    fn alive(&self) -> bool {
        matches!(lock(&self.switch).try_wait(), Ok(None))
    }

    fn set_port(&self, machine: &str, network: usize, up: bool) -> Result<()> {
        let on = self.is_on(machine);
        let mut pulled = lock(&self.pulled);
        if up {
            pulled.remove(&(machine.to_owned(), network));
        } else {
            pulled.insert((machine.to_owned(), network));
        }
        if !on {
            return Ok(());
        }
        let state = if up { "up" } else { "down" };
        let mut batch = format!("link set {} {state}\n", plan::port(machine, network));
        if machine == CLIENT {
            let _ = writeln!(batch, "link set {} {state}", plan::probe_port(network));
        }
        self.ip(&batch)
    }

    fn set_loss(&self, from: &str, to: &str, lost: bool) -> Result<()> {
        let mut pairs = Vec::new();
        for from in self.ports(from) {
            for to in self.ports(to) {
                pairs.push(format!("\"{from}\" . \"{to}\""));
            }
        }
        let pairs = pairs.join(", ");
        // Adding what is there is no error; deleting what is not there is one, so it is added first.
        let delete =
            if lost { String::new() } else { format!("delete element bridge lab lost {{ {pairs} }}\n") };
        self.in_switch(&["nft", "-f", "-"], &format!("add element bridge lab lost {{ {pairs} }}\n{delete}"))
    }

    fn clear_loss(&self) -> Result<()> {
        self.in_switch(&["nft", "-f", "-"], "flush set bridge lab lost\n")
    }

    fn spawn(&self, machine: &str, command: &str) -> Result<Job> {
        let mut enter = enter(self.pid_of(machine)?);
        enter.args(["sh", "-c", command]);
        Job::start(&format!("{machine}: {command}"), enter)
    }

    fn read_disk(&self, machine: &str, path: &str) -> Result<String> {
        self.machine(machine)?.disk.read(path)
    }

    fn write_disk(&self, machine: &str, path: &str, text: &str) -> Result<()> {
        self.machine(machine)?.disk.write(path, text.as_bytes(), 0o644)
    }

    fn syslog(&self, machine: &str) -> String {
        let Some(machine) = self.machines.get(machine) else { return String::new() };
        lock(&machine.syslog).iter().fold(String::new(), |text, line| text + line + "\n")
    }

    fn client_network(&self) -> Result<fs::File> {
        let path = format!("/proc/{}/ns/net", self.pid_of(CLIENT)?);
        fs::File::open(&path).with_context(|| format!("cannot open {path}"))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let started = Instant::now();
        // `unshare` ends when the switch and all in it have ended.
        let mut switch = lock(&self.switch);
        while matches!(switch.try_wait(), Ok(None)) {
            if started.elapsed() > DEATH {
                let _ = switch.kill();
            }
            sleep(Duration::from_millis(2));
        }
        for machine in self.machines.values() {
            let _ = machine.syslog_socket.shutdown(std::net::Shutdown::Both);
            if let Some(mut running) = lock(&machine.power).take() {
                let _ = running.process.wait();
            }
        }
    }
}

/// The next line that a child writes, or nothing if it ends without one.
fn line(pipe: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    pipe.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn gather_syslog(socket: &UnixDatagram, sink: &Mutex<VecDeque<String>>) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = socket.recv(&mut buffer) {
        let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).trim_end().to_owned();
        let mut lines = lock(sink);
        if lines.len() == SYSLOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// What is behind the locks stays usable after a panic: a test that fails must still clean up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
