//! A network and a `/run` of a test's own, for running one agent by hand without a cluster.
//!
//! [`Sandbox::enter`] moves the calling thread (and all that it starts) into a new network and mount namespace. They end
//! with the thread and its children, whatever happens to the test.

use crate::agents_dir;
use crate::job::Job;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The namespaces of one test.
#[derive(Debug)]
pub struct Sandbox(());

impl Sandbox {
    /// Enters new namespaces: only `lo`, which is up, and an empty `/run`.
    ///
    /// # Panics
    /// Without root, which tests of the real thing need.
    pub fn enter() -> Sandbox {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces need root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
        mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).expect("an own /run");
        // sysfs shows the interfaces of the namespace that mounted it; the shell agents look there.
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("an own /sys");
        NOBODY.set(255);
        let sandbox = Sandbox(());
        // The shell agents keep their state there, and tmpfiles.d made it on the real /run.
        sandbox.sh("ip link set lo up; mkdir -m 1755 /run/resource-agents");
        sandbox
    }

    /// Enters new namespaces with an interface `eth0` (192.0.2.1/24, 2001:db8::1/64) that is linked to `eth0` of the
    /// namespace `peer` (192.0.2.2/24, 2001:db8::2/64).
    pub fn with_peer() -> Sandbox {
        let sandbox = Sandbox::enter();
        sandbox.sh("ip netns add peer
            ip link add eth0 type veth peer name eth0 netns peer
            ip link set eth0 up
            ip address add 192.0.2.1/24 dev eth0
            ip address add 2001:db8::1/64 dev eth0 nodad
            ip -n peer link set lo up
            ip -n peer link set eth0 up
            ip -n peer address add 192.0.2.2/24 dev eth0
            ip -n peer address add 2001:db8::2/64 dev eth0 nodad");
        // The kernel takes its time to see a cable.
        sandbox.until("ip link show eth0 | grep -q 'state UP'");
        sandbox
    }

    /// What a shell script prints.
    ///
    /// # Panics
    /// A command of it fails.
    pub fn sh(&self, script: &str) -> String {
        let ran = Ran::of(Command::new("sh").args(["-euc", script]));
        assert_eq!(ran.code, 0, "{script}: {ran}");
        ran.stdout
    }

    /// Whether a shell script succeeds.
    pub fn holds(&self, script: &str) -> bool {
        Ran::of(Command::new("sh").args(["-euc", script])).code == 0
    }

    /// The links on which an address is, by name.
    pub fn places(&self, ip: &str) -> Vec<String> {
        let listed = self.sh("ip -o address show");
        let on = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let (nic, address) = (words.nth(1)?, words.nth(1)?);
            (address.split('/').next() == Some(ip)).then(|| nic.to_owned())
        };
        listed.lines().filter_map(on).collect()
    }

    /// All that an agent may have changed: addresses, routes of all tables, rules, address labels. Lifetimes, which pass
    /// by themselves, and link-local addresses, which come by themselves, are left out.
    pub fn everything(&self) -> String {
        let all = self.sh("ip -o address show
            ip -4 -d route show table all; ip -6 -d route show table all
            ip rule show; ip -6 rule show; ip addrlabel list");
        let lasting = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let expiry = words.iter().position(|word| *word == "expires").unwrap_or(words.len());
            let kept = words[..expiry].iter().chain(words.iter().skip(expiry + 2));
            kept.copied().collect::<Vec<_>>().join(" ")
        };
        all.lines().filter(|line| !line.contains("fe80:")).map(lasting).collect::<Vec<_>>().join("\n")
    }

    /// Fails unless [`Sandbox::everything`] is as it was, and shows only what is not.
    ///
    /// # Panics
    /// Something is not.
    #[track_caller]
    pub fn assert_unchanged(&self, before: &str, when: impl fmt::Display) {
        let now = self.everything();
        let missing = |from: &str, of: &str, sign: char| {
            let missing = of.lines().filter(|line| !from.lines().any(|other| other == *line));
            missing.map(|line| format!("{sign} {line}\n")).collect::<String>()
        };
        let difference = missing(&now, before, '-') + &missing(before, &now, '+');
        assert!(now == before, "{when}:\n{difference}(no line: the order)\n{now}");
    }

    /// Waits for a shell script to succeed.
    ///
    /// # Panics
    /// It does not within ten seconds.
    #[track_caller]
    pub fn until(&self, script: &str) {
        let begin = Instant::now();
        while !self.holds(script) {
            let state = || self.sh("ip address show; ip route show table all");
            assert!(begin.elapsed() < Duration::from_secs(10), "never: {script}\n{}", state());
            sleep(Duration::from_millis(5));
        }
    }

    /// The processes of this network namespace that have this name (its first 15 characters).
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let namespace = |path: String| std::fs::read_link(path).ok();
        let ours = namespace("/proc/thread-self/ns/net".into());
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
        })
        .filter(|pid| namespace(format!("/proc/{pid}/ns/net")) == ours)
        .collect()
    }

    /// Waits until there is no process of this name in this network namespace.
    ///
    /// # Panics
    /// There is one still after ten seconds.
    #[track_caller]
    pub fn until_ended(&self, name: &str) {
        let begin = Instant::now();
        while !self.processes(name).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(10), "{name} stays: {:?}", self.processes(name));
            sleep(Duration::from_millis(1));
        }
    }

    /// Listens to ARP and ICMPv6 on the `eth0` of the peer.
    ///
    /// # Panics
    /// tcpdump does not start.
    pub fn listen(&self) -> Listener {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "peer", "tcpdump", "-Z", "root", "-nn", "-e", "-tt", "-l"]);
        command.args(["--immediate-mode", "-i", "eth0", "arp or icmp6"]);
        let mut job = Job::start("tcpdump", command).expect("tcpdump");
        while job.is_running() && !job.stderr().contains("listening on") {
            sleep(Duration::from_millis(2));
        }
        assert!(job.is_running(), "tcpdump: {}", job.stderr());
        Listener { job }
    }

    /// A call of the built agent of this name, such as `vip`.
    pub fn agent(&self, name: &str) -> Agent {
        Agent::new(agents_dir().join(format!("{name}-agent")))
    }

    /// A call of the agent at this path.
    pub fn agent_at(&self, program: &str) -> Agent {
        Agent::new(PathBuf::from(program))
    }

    /// A call of an agent of the distribution, such as `heartbeat/IPaddr2`.
    pub fn stock_agent(&self, name: &str) -> Agent {
        Agent::new(PathBuf::from("/usr/lib/ocf/resource.d").join(name)).env("OCF_ROOT", "/usr/lib/ocf")
    }
}

/// What the peer hears.
pub struct Listener {
    job: Job,
}

thread_local! {
    /// The last byte of the next address that nobody has. The kernel asks for each several times: never the same again.
    static NOBODY: Cell<u8> = const { Cell::new(255) };
}

impl Listener {
    /// The packets that tcpdump has told of, one line each, those that have this text: perhaps not yet all.
    pub fn so_far(&self, text: &str) -> Vec<String> {
        self.job.stdout().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// All packets that have been sent until now, one line each, those that have this text. It asks for addresses from
    /// 192.0.2.255 down, a new one each time.
    ///
    /// # Panics
    /// The link does not carry packets.
    #[track_caller]
    pub fn heard(&self, text: &str) -> Vec<String> {
        // Somebody is asked for who does not exist: what was sent before the question has been heard with it.
        let marker = NOBODY.with(|last| {
            last.set(last.get() - 1);
            format!("192.0.2.{}", last.get())
        });
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.send_to(b"?", format!("{marker}:9")).expect("a way to the peer");
        let question = format!("who-has {marker} ");
        let begin = Instant::now();
        loop {
            let all = self.job.stdout();
            if let Some((before, _)) = all.split_once(&question) {
                return before.lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "the peer hears nothing: {all}");
            sleep(Duration::from_millis(2));
        }
    }
}

/// A call of an agent as Pacemaker makes it, with an environment of its own.
#[derive(Clone, Debug)]
pub struct Agent {
    program: PathBuf,
    variables: Vec<(OsString, OsString)>,
}

impl Agent {
    fn new(program: PathBuf) -> Agent {
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        Agent { program, variables: Vec::new() }
            .env("PATH", path)
            .env("OCF_RESOURCE_INSTANCE", "test")
            .env("OCF_RA_VERSION_MAJOR", "1")
            .env("OCF_RESKEY_CRM_meta_timeout", "20000")
    }

    /// The path of the program.
    pub fn program(&self) -> &PathBuf {
        &self.program
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Agent {
        self.variables.retain(|(known, _)| known != name.as_ref());
        self.variables.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Unsets a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Agent {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// Sets a parameter.
    #[must_use]
    pub fn set(self, name: &str, value: impl AsRef<OsStr>) -> Agent {
        self.env(format!("OCF_RESKEY_{name}"), value)
    }

    /// Makes a monitor a recurring one with this interval in milliseconds, or a probe with 0.
    #[must_use]
    pub fn interval(self, milliseconds: u32) -> Agent {
        self.env("OCF_RESKEY_CRM_meta_interval", milliseconds.to_string())
    }

    /// The command of this call.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear();
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs an action, or any other arguments.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs an action and expects an exit code.
    ///
    /// # Panics
    /// Another code, shown with all that was printed.
    #[track_caller]
    pub fn expect(&self, action: &str, code: i32) -> Ran {
        let ran = self.run(&[action]);
        assert_eq!(ran.code, code, "{action}: {ran}");
        ran
    }
}

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; 128 and more for a signal, as in the shell.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Ran {
        use std::os::unix::process::ExitStatusExt;
        let output =
            command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let signal = || 128 + output.status.signal().unwrap_or(0);
        Ran {
            code: output.status.code().unwrap_or_else(signal),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The OCF exit reason: the last line that has the prefix, as Pacemaker reads it.
    pub fn reason(&self) -> Option<&str> {
        self.stderr
            .lines()
            .filter_map(|line| line.split_once("ocf-exit-reason:"))
            .next_back()
            .map(|(_, why)| why)
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
