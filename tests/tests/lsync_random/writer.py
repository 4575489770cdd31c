#!/usr/bin/python3
"""ocf:bascule:writer for lsync_random.rs: an application that does everything to the directory `tree` that applications do, and notes
it in /var/log/writer.log before and after. Every content is unique and says which version it is, so that whatever is found
later, anywhere, can be told. Beside it another process asks the agent again and again whether all of it is acknowledged.

The log, fields between tabs, names percent-encoded, times of the monotonic clock that all machines of a lab share:
  S time session generation id     a session begins: this node believes that it is the source of this generation
  B path value                     what was in the tree then
  E                                that was all
  > time number operation ...      begun: write path version size | rename from to | delete path | mkdir path | link path target
  < time number ok|failed|late     ended; late: this node has ceased to be the source meanwhile
  O path value                     what is there after an operation that failed
  X time                           the session has ended in order
  A begun ended code generation id the agent was asked (monitor at level 10)
Values: dir, link:TARGET, full:VERSION, part:VERSION, empty, other:WHAT, none.
Further uses: `writer scan NAME` prints the tree (T), what is set aside (S) and what is left of transfers (L).
"""
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from urllib.parse import quote_from_bytes, unquote_to_bytes

LOG, PID, STOP, IDLE = "/var/log/writer.log", "/run/writer.pid", "/run/writer.stop", "/run/writer.idle"
# "quiet", or the pause between operations in seconds and what the clock for files is wrong by.
PACE, SEED = "/etc/lab/pace", "/etc/lab/seed"
AGENT = "/usr/lib/ocf/resource.d/bascule/lsync"
HEAD = 64
HOSTILE = [b"with space", b"new\nline", b"quo'te\"s", b"*", b"[a-z]?", b"-rf", b"\xff\xfe", b"x" * 255, b"back\\slash",
           b"#hash;semi", b"$(touch pwned)", b"~", b"%s%n\t", b"..hidden", b"trailing ", "é".encode(), b"\x01\x7f", b"- *", b"!"]
DIRECTORIES = [b"", b"d0", b"d1", b"d 2", b"d'3\"", b"d0/in", b"d1/\xfe/deep"]
MEMBERS = [b"a", b"b", b"c", b"d"]
POOL = [b"f%02d" % i for i in range(24)] + HOSTILE + [d + b"/" + m for d in DIRECTORIES[1:] for m in MEMBERS]
BIG = 5
MANY = 160


def body(version, size):
    """The whole content of a version."""
    head = ("version %s of %d" % (version, size)).encode().ljust(HEAD - 1) + b"\n"
    line = hashlib.sha256(head).hexdigest().encode() + b"\n"
    return (head + line * (size // len(line) + 1))[:max(size, HEAD)]


def content(path):
    with open(path, "rb") as file:
        data = file.read()
    if not data:
        return "empty"
    try:
        word, version, of, size = data[:HEAD].decode().split()
        whole = body(version, int(size))
        if (word, of) == ("version", "of") and whole.startswith(data):
            return ("full:" if data == whole else "part:") + version
    except (ValueError, UnicodeDecodeError):
        pass
    return "other:" + quote_from_bytes(data[:80]) + ":" + str(len(data))


def value(path):
    try:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            return "dir"
        if stat.S_ISLNK(status.st_mode):
            return "link:" + quote(os.readlink(path))
        if stat.S_ISREG(status.st_mode):
            return content(path)
        return "other:mode %o" % status.st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "none"


def quote(name):
    return quote_from_bytes(name, safe="/")


def walk(root, prefix=b"", hidden=(b".bascule",)):
    with os.scandir(root + b"/" + prefix if prefix else root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not prefix and entry.name in hidden:
                continue
            name = prefix + entry.name
            what = value(root + b"/" + name)
            if what != "none":
                yield name, what
            if what == "dir":
                try:
                    yield from walk(root, name + b"/")
                except FileNotFoundError:
                    pass


class Log:
    def __init__(self):
        self.file = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, *words):
        text = ("\t".join(str(word) for word in words) + "\n").encode()
        # The other process writes here too, and a line of a machine that dies may be cut: it ends the next one begins.
        fcntl.flock(self.file, fcntl.LOCK_EX)
        os.write(self.file, text)
        fcntl.flock(self.file, fcntl.LOCK_UN)


def now():
    return "%.6f" % time.monotonic()


def reign(name):
    """The generation of which this node believes to be the source."""
    try:
        with open("/var/lib/bascule/lsync/%s/generation.json" % name) as file:
            own = json.load(file)
        if "Source" not in own["standing"]:
            return None
        return "%d\t%016x" % (own["latest"]["generation"]["number"], own["latest"]["generation"]["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(path, default):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return default


class Session:
    def __init__(self, log, name, generation):
        self.log, self.name, self.reign = log, name, generation
        self.host, self.number = os.uname().nodename, 0
        self.id = "%s-%x" % (self.host, time.monotonic_ns() // 1000000)
        self.random = random.Random(read(SEED, "0") + self.host + generation.split("\t")[0])
        log("S", now(), self.id, generation)
        self.tree = dict(walk(b"."))
        for path, what in self.tree.items():
            log("B", quote(path), what)
        log("E")

    def do(self, words, paths, act):
        """One operation: noted, done, noted. `paths` are those that it changes."""
        if reign(self.name) != self.reign:
            return False
        self.number += 1
        self.log(">", now(), self.number, *words)
        outcome = "ok"
        try:
            act()
        except OSError as error:
            outcome = "failed"
            self.log("#", quote(str(error).encode(errors="replace")))
        if reign(self.name) != self.reign:
            outcome = "late"
        if outcome == "failed":
            for path in paths:
                self.log("O", quote(path), self.see(path))
        self.log("<", now(), self.number, outcome)
        return outcome == "ok"

    def see(self, path):
        what = value(path)
        if what == "none":
            self.tree.pop(path, None)
        else:
            self.tree[path] = what
        return what

    def below(self, path):
        return [name for name in self.tree if name.startswith(path + b"/")]

    def write(self, path, size, chunk=0, offset=0.0):
        if self.tree.get(path, "").startswith("link:"):
            self.delete(path)
        version = "%s-%d" % (self.id, self.number)
        data = body(version, size)

        def act():
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
            try:
                for start in range(0, len(data), chunk or len(data)):
                    piece = data[start:start + (chunk or len(data))]
                    while piece:
                        piece = piece[os.write(file, piece):]
                    if chunk:
                        time.sleep(0.01)
                if offset:
                    os.utime(file, (time.time() + offset,) * 2)
            finally:
                os.close(file)

        done = self.do(["write", quote(path), version, len(data)], [path], act)
        if done:
            self.tree[path] = "full:" + version
        return done

    def rename(self, old, new):
        inner = self.below(old)
        paths = [old, new] + inner + [new + path[len(old):] for path in inner]
        if self.do(["rename", quote(old), quote(new)], paths, lambda: os.rename(old, new)):
            for path in [old] + inner:
                self.tree[new + path[len(old):]] = self.tree.pop(path)

    def delete(self, path):
        gone = [path] + self.below(path)
        act = (lambda: shutil.rmtree(path)) if self.tree.get(path) == "dir" else (lambda: os.unlink(path))
        if self.do(["delete", quote(path)], gone, act):
            for name in gone:
                self.tree.pop(name, None)

    def mkdir(self, path):
        if self.tree.get(path) not in (None, "dir"):
            self.delete(path)
        if path and path not in self.tree:
            self.parents(path)
            if self.do(["mkdir", quote(path)], [path], lambda: os.mkdir(path)):
                self.tree[path] = "dir"

    def parents(self, path):
        if b"/" in path:
            self.mkdir(path.rsplit(b"/", 1)[0])

    def files(self, big=False):
        return [path for path, what in self.tree.items() if what != "dir" and path.startswith(b"big-") == big]

    def step(self, offset):
        dice = self.random.random()
        name = self.random.choice(POOL)
        files = self.files()
        if len(files) > MANY or (dice < 0.15 and files):
            self.delete(self.random.choice(sorted(files)))
        elif dice < 0.55:
            if self.tree.get(name) == "dir":
                return
            self.parents(name)
            # Often of one length, so that only the time tells versions apart.
            size = self.random.choice([HEAD, HEAD, HEAD, 200, 1000, 3000])
            self.write(name, size, offset=offset)
            if self.random.random() < 0.2:
                self.write(name, size, offset=offset)
        elif dice < 0.68:
            if self.tree.get(name) == "dir":
                return
            self.parents(name)
            directory = name.rsplit(b"/", 1)[0] + b"/" if b"/" in name else b""
            temporary = directory + (".tmp-%d" % self.number).encode()
            if self.write(temporary, self.random.choice([HEAD, 500, 30000]), offset=offset):
                self.rename(temporary, name)
        elif dice < 0.76 and files:
            old = self.random.choice(sorted(files))
            if self.tree.get(name) != "dir" and name != old:
                self.parents(name)
                if old in self.tree and not name.startswith(old + b"/"):
                    self.rename(old, name)
        elif dice < 0.80:
            new = ("moved-%s-%d" % (self.id, self.number)).encode()
            directories = sorted(path for path, what in self.tree.items() if what == "dir")
            if directories:
                self.rename(self.random.choice(directories), new)
        elif dice < 0.84:
            directories = sorted(path for path, what in self.tree.items() if what == "dir")
            if directories:
                self.delete(self.random.choice(directories))
        elif dice < 0.88:
            if self.tree.get(name) != "dir":
                self.parents(name)
                if name in self.tree:
                    self.delete(name)
                target = self.random.choice([b"f01", b"/etc/passwd", b"../../x", b"gone\nline", b"d0"])
                if self.do(["link", quote(name), quote(target)], [name], lambda: os.symlink(target, name)):
                    self.tree[name] = "link:" + quote(target)
        elif dice < 0.92:
            big = sorted(self.files(big=True))
            while len(big) >= BIG:
                self.delete(big.pop(0))
            self.write(("big-%s-%d" % (self.id, self.number)).encode(), self.random.randrange(100000, 2000000), chunk=65536)
        elif dice < 0.95 and files:
            path = self.random.choice(sorted(files))
            if not self.tree[path].startswith("link:"):
                mode = self.random.choice([0o600, 0o644, 0o755, 0o4750])
                self.do(["chmod", quote(path)], [], lambda: os.chmod(path, mode))
        elif dice < 0.97:
            self.mkdir(("empty-%d" % self.random.randrange(6)).encode())
        else:
            # A file takes a directory's place, or the other way.
            if self.tree.get(name) == "dir":
                self.delete(name)
                self.write(name, HEAD, offset=offset)
            else:
                self.mkdir(name)

    def go(self):
        while reign(self.name) == self.reign and not os.path.exists(STOP):
            pace = read(PACE, "0.05 0").split()
            if pace[0] == "quiet":
                with open(IDLE, "w"):
                    pass
                time.sleep(0.05)
                continue
            if os.path.exists(IDLE):
                os.unlink(IDLE)
            self.step(float(pace[1]))
            time.sleep(float(pace[0]) * 2 * self.random.random())
        self.log("X", now())


def write(tree):
    name = os.path.basename(tree)
    log = Log()
    os.chdir(tree)
    while not os.path.exists(STOP):
        generation = reign(name)
        if generation:
            Session(log, name, generation).go()
        time.sleep(0.05)


def ask(tree):
    name, log = os.path.basename(tree), Log()
    host = os.uname().nodename
    environment = {
        "PATH": os.environ["PATH"], "OCF_ROOT": "/usr/lib/ocf", "OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "1",
        "OCF_EXIT_REASON_PREFIX": "ocf-exit-reason:", "OCF_RESOURCE_INSTANCE": name, "OCF_RESOURCE_TYPE": "lsync",
        "OCF_RESOURCE_PROVIDER": "bascule", "OCF_CHECK_LEVEL": "10", "OCF_RESKEY_source": tree,
        "OCF_RESKEY_crm_feature_set": "3.16.2", "OCF_RESKEY_CRM_meta_name": "monitor",
        "OCF_RESKEY_CRM_meta_interval": "60000", "OCF_RESKEY_CRM_meta_timeout": "8000",
        "OCF_RESKEY_CRM_meta_on_node": host, "OCF_RESKEY_CRM_meta_clone_max": "3",
        "OCF_RESKEY_CRM_meta_clone_node_max": "1", "OCF_RESKEY_CRM_meta_globally_unique": "false",
        "OCF_RESKEY_CRM_meta_notify": "true", "OCF_RESKEY_CRM_meta_promotable": "true",
        "OCF_RESKEY_CRM_meta_promoted_max": "1", "OCF_RESKEY_CRM_meta_promoted_node_max": "1",
        "OCF_RESKEY_CRM_meta_role": "Promoted",
    }
    while not os.path.exists(STOP):
        generation = reign(name)
        if generation:
            begun = now()
            try:
                code = subprocess.run([AGENT, "monitor"], env=environment, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20).returncode
            except subprocess.TimeoutExpired:
                code = -1
            if reign(name) == generation:
                log("A", begun, now(), code, generation)
        for _ in range(8):
            if not os.path.exists(STOP):
                time.sleep(0.1)


def scan(name):
    for path, what in walk(b"/site/" + name.encode(), hidden=(b".bascule",)):
        print("T", quote(path), what, sep="\t")
    for path, what in walk(b"/var/lib/bascule/lsync/%s/saved" % name.encode()) if os.path.isdir(
            "/var/lib/bascule/lsync/%s/saved" % name) else ():
        parts = path.split(b"/", 2)
        if len(parts) == 3 and parts[1] == b"files":
            print("S", quote(path), what, sep="\t")
    for place in (b"/.bascule/local/tmp", b"/.bascule/local/saved"):
        place = b"/site/" + name.encode() + place
        if os.path.isdir(place):
            for path, what in walk(place):
                print("L", quote(place + b"/" + path), what, sep="\t")


def alive():
    """The processes of a writer that was started and has not ended."""
    pids = []
    for pid in read(PID, "").split():
        try:
            with open("/proc/%s/stat" % pid) as file:
                if file.read().rsplit(")", 1)[1].split()[0] != "Z":
                    pids.append(int(pid))
        except OSError:
            pass
    return pids


def start(tree):
    if len(alive()) == 2:
        return 0
    stop()
    if os.path.exists(STOP):
        os.unlink(STOP)
    children = []
    for work in (write, ask):
        child = os.fork()
        if child == 0:
            os.setsid()
            null = os.open("/dev/null", os.O_RDWR)
            for number in (0, 1):
                os.dup2(null, number)
            errors = os.open("/var/log/writer.err", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(errors, 2)
            os.closerange(3, 64)
            try:
                work(tree)
            except BaseException:
                import traceback
                traceback.print_exc()
            os._exit(0)
        children.append(child)
    with open(PID, "w") as file:
        file.write(" ".join(str(child) for child in children))
    return 0


def stop():
    with open(STOP, "w"):
        pass
    until = time.monotonic() + 10
    while alive() and time.monotonic() < until:
        time.sleep(0.02)
    for pid in alive():
        os.kill(pid, signal.SIGKILL)
    while alive():
        time.sleep(0.02)
    return 0


METADATA = """<?xml version="1.0"?>
<resource-agent name="writer" version="1.0"><version>1.0</version><longdesc lang="en">Writes into a directory.</longdesc>
<shortdesc lang="en">Writes</shortdesc><parameters><parameter name="tree" required="1"><longdesc lang="en">Directory</longdesc>
<shortdesc lang="en">Directory</shortdesc><content type="string"/></parameter></parameters><actions><action name="start" timeout="20s"/>
<action name="stop" timeout="20s"/><action name="monitor" timeout="20s" interval="10s"/><action name="meta-data" timeout="5s"/>
</actions></resource-agent>"""


def main(action, *rest):
    if action == "meta-data":
        print(METADATA)
        return 0
    if action == "start":
        return start(os.environ["OCF_RESKEY_tree"])
    if action == "stop":
        return stop()
    if action == "monitor":
        return {0: 7, 1: 1}.get(len(alive()), 0)
    if action == "scan":
        scan(*rest)
        return 0
    return 3


sys.exit(main(*sys.argv[1:]))
