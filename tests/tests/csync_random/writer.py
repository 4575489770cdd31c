#!/usr/bin/python3
"""What people and programs do to the files of csync_random.rs, on one node. Every content is unique: it carries a token, "<NODE-NUMBER>".

Each act takes what was there out of the tree in one step with putting the new one there (renameat2), and looks at it afterwards: so the log
knows exactly which versions were seen by whoever replaced them. Lines of /var/log/writer.log:
  M token path    this version was made
  G token         this version was replaced or removed by somebody who had it before them (or by csync2 in an instant: look_after)
What was taken out and not looked at when the machine died is still in /srv/.w, and counts as there.

  writer.py go            acts until it is ended, as /etc/lab/pace says: the mean pause in seconds, or "quiet"
  writer.py empty|refill|drop   the tree is emptied as if it was not mounted; is filled again; what was in it is given up
  writer.py scan          prints the tree (T path what) and the tokens found anywhere (K token)
"""
import ctypes
import fcntl
import hashlib
import os
import random
import re
import shutil
import stat
import sys
import time
from urllib.parse import quote_from_bytes

ROOT, SPOOL, LOG = b"/srv/site", b"/srv/.w", "/var/log/writer.log"
PACE, SEED, COUNT, HOLD, LOCK, IDLE = "/etc/lab/pace", "/etc/lab/seed", "/var/lib/writer.count", "/var/lib/writer.hold", "/run/writer.lock", "/run/writer.idle"
BACKUPS = [b"/var/lib/bascule/csync/conf"]
TOKEN = re.compile(rb"<n\d-\d+>")
NAMES = [b"a%d" % i for i in range(8)] + [b"d%d/%s" % (i, name) for i in range(3) for name in (b"x", b"y", b"z w", b"100%")] + [b"d0/in/deep", b"d1/in/deep"]
DIRECTORIES = [b"d0", b"d1", b"d2", b"d0/in", b"d1/in", b"empty"]
NODE = os.uname().nodename
libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2


def rename(old, new, flags):
    if libc.renameat2(-100, ctypes.c_char_p(old), -100, ctypes.c_char_p(new), flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), old, None, new)


def read(path, default=""):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return default


def tokens(path):
    """Those in a file, or in all files below a directory."""
    found = set()
    try:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            for name in os.listdir(path):
                found |= tokens(path + b"/" + name)
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                found |= set(TOKEN.findall(file.read()))
    except FileNotFoundError:
        pass
    return found


class Hand:
    def __init__(self):
        os.makedirs(SPOOL, exist_ok=True)
        self.log_file = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.number = int(read(COUNT, "0") or 0)
        self.random = random.Random("%s %s %d" % (read(SEED), NODE, self.number))
        self.spooled = 0
        self.young = []
        for name in os.listdir(SPOOL):
            # Of a writer that died with its machine.
            if name.startswith(b"young-"):
                os.unlink(SPOOL + b"/" + name)

    def log(self, kind, token, path=b""):
        os.write(self.log_file, b"%s %s %s %.2f\n" % (kind, token, quote_from_bytes(path, safe="/").encode(), time.monotonic()))

    def fresh(self):
        """A content of its own."""
        # Kept on the disk, a hundred at a time: after a crash no token comes twice.
        if self.number % 100 == 0:
            with open(COUNT + ".new", "w") as file:
                file.write(str(self.number + 100))
            os.rename(COUNT + ".new", COUNT)
        self.number += 1
        token = b"<%s-%d>" % (NODE.encode(), self.number)
        # No two of one length: where two nodes send to a third at once, csync2 can give it one's contents and the other's time, which nobody sees then.
        size = self.random.choice([100, 100, 100, 3100, 6100, 60100]) + 3 * self.number + int(NODE[1:])
        return token, token + bytes(self.random.choices(b"abcdefgh\n", k=size - len(token)))

    def place(self):
        self.spooled += 1
        return SPOOL + b"/%d-%d" % (os.getpid(), self.spooled)

    def forget(self, place):
        """What was taken out was seen by who did it."""
        for token in sorted(tokens(place)):
            self.log(b"G", token)
        if os.path.isdir(place) and not os.path.islink(place):
            shutil.rmtree(place)
        elif os.path.lexists(place):
            os.unlink(place)

    def parents(self, path):
        directory = os.path.dirname(path)
        if directory != ROOT and not os.path.isdir(directory):
            self.parents(directory)
            if os.path.lexists(directory):
                self.remove(directory)
            os.mkdir(directory)

    def put(self, new, path):
        """Puts what was made at `new` to its place."""
        self.parents(path)
        try:
            rename(new, path, NOREPLACE)
        except FileExistsError:
            rename(new, path, EXCHANGE)
            self.forget(new)

    def remove(self, path):
        place = self.place()
        os.rename(path, place)
        self.forget(place)

    def write(self, path, skewed):
        token, content = self.fresh()
        place = self.place()
        with open(place, "wb") as file:
            file.write(content)
        os.chmod(place, self.random.choice([0o644, 0o644, 0o600, 0o755]))
        if skewed:
            wrong = time.time() + self.random.choice([-7200, 7200, -1, 1, -86400 * 400])
            os.utime(place, (wrong, wrong))
        try:
            self.put(place, path)
        except OSError:
            os.unlink(place)
            raise
        self.log(b"M", token, path)
        hold = self.place().replace(SPOOL + b"/", SPOOL + b"/young-")
        try:
            os.link(path, hold)
            self.young.append((time.monotonic(), path, token, hold))
        except OSError:
            pass

    def look_after(self):
        """What stood for less than a second when csync2 put a directory or a link there: that it does without a backup, and nobody had a chance."""
        for young in list(self.young):
            made, path, token, hold = young
            gone = os.path.islink(path) or os.path.isdir(path)
            if gone:
                self.log(b"G", token)
            if gone or made < time.monotonic() - 1:
                self.young.remove(young)
                if os.path.lexists(hold):
                    os.unlink(hold)

    def append(self, path):
        token, content = self.fresh()
        with open(path, "r+b") as file:
            file.seek(0, 2)
            file.write(content)
            file.flush()
            same = os.fstat(file.fileno())
        now = os.lstat(path)
        # Else somebody has put another file there meanwhile, as any editor may find.
        if (now.st_dev, now.st_ino) == (same.st_dev, same.st_ino):
            self.log(b"M", token, path)

    def files(self):
        for directory, _, names in os.walk(ROOT):
            for name in sorted(names):
                yield directory + b"/" + name

    def act(self):
        dice = self.random.random()
        own = [name for place, name in enumerate(NAMES) if place % 3 == int(NODE[1:]) - 1]
        name = self.random.choice(own if self.random.random() < 0.7 else NAMES)
        path = ROOT + b"/" + name
        files = sorted(self.files())
        some = self.random.choice(files) if files else path
        is_file = os.path.isfile(path) and not os.path.islink(path)
        if dice < 0.45:
            self.write(path, skewed=self.random.random() < 0.2)
        elif dice < 0.57:
            if is_file:
                self.append(path)
        elif dice < 0.67:
            if os.path.lexists(path):
                self.remove(path)
        elif dice < 0.72:
            new = ROOT + b"/" + self.random.choice(NAMES)
            if not os.path.lexists(new):
                self.parents(new)
                rename(some, new, NOREPLACE)
        elif dice < 0.77:
            if os.path.isfile(some) and not os.path.islink(some):
                os.chmod(some, self.random.choice([0o600, 0o644, 0o755, 0o640]))
        elif dice < 0.80:
            if os.path.isfile(some) and not os.path.islink(some):
                wrong = int(time.time()) + self.random.choice([-3600, 3600])
                os.utime(some, (wrong, wrong))
        elif dice < 0.84:
            directory = ROOT + b"/" + self.random.choice(DIRECTORIES)
            if os.path.isdir(directory):
                self.remove(directory)
            else:
                self.parents(directory + b"/x")
        elif dice < 0.88:
            # A directory takes a file's place; a file that of a directory is what the first lines do.
            if is_file:
                self.remove(path)
                self.write(path + b"/inner", skewed=False)
        elif dice < 0.92:
            self.write(ROOT + b"/" + self.random.choice(DIRECTORIES), skewed=False)
        elif dice < 0.95:
            place = self.place()
            os.symlink(self.random.choice([b"a0", b"gone", b"/etc/passwd", b"d0"]), place)
            try:
                self.put(place, path)
            except OSError:
                os.unlink(place)
        else:
            new = ("new-%s-%d" % (NODE, self.random.randrange(5))).encode()
            self.write(ROOT + b"/" + new, skewed=False)

    def go(self):
        while True:
            self.look_after()
            pace = read(PACE, "0.3").strip()
            if pace == "quiet" or os.path.exists(HOLD):
                with open(IDLE, "w"):
                    pass
                time.sleep(0.05)
                continue
            if os.path.exists(IDLE):
                os.unlink(IDLE)
            with locked():
                if not os.path.exists(HOLD):
                    self.look_after()
                    try:
                        self.act()
                    except OSError:
                        # Somebody else was there at the same time: csync2.
                        pass
            time.sleep(float(pace) * 2 * self.random.random())


def locked():
    file = open(LOCK, "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def what(path):
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        return "dir:%o" % stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return "link:" + quote_from_bytes(os.readlink(path))
    with open(path, "rb") as file:
        data = file.read()
    shown = ",".join(sorted(token.decode() for token in set(TOKEN.findall(data))))
    return "file:%o:%d:%d:%s:%s" % (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, hashlib.sha256(data).hexdigest()[:12], shown)


def scan():
    for directory, directories, names in os.walk(ROOT):
        for name in sorted(directories + names):
            path = directory + b"/" + name
            try:
                found = what(path)
            except FileNotFoundError:
                # csync2 makes files beside those that it sends, for a moment.
                continue
            print("T", quote_from_bytes(path, safe="/"), found)
    for place in [ROOT, SPOOL, b"/srv/aside"] + BACKUPS:
        for token in sorted(tokens(place)):
            print("K", token.decode())


def main(action):
    if action == "go":
        lock = open("/run/writer.alone", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        Hand().go()
    elif action == "scan":
        scan()
    else:
        with locked():
            aside = b"/srv/aside"
            if action == "empty":
                open(HOLD, "w").close()
                os.makedirs(aside, exist_ok=True)
                for name in os.listdir(aside):
                    # In whose place something had come when it was refilled: it stays aside.
                    os.makedirs(SPOOL, exist_ok=True)
                    os.rename(aside + b"/" + name, SPOOL + b"/aside-%d-%s" % (time.monotonic_ns(), name))
                for name in os.listdir(ROOT):
                    os.rename(ROOT + b"/" + name, aside + b"/" + name)
            elif action == "refill":
                for name in os.listdir(aside):
                    try:
                        rename(aside + b"/" + name, ROOT + b"/" + name, NOREPLACE)
                    except FileExistsError:
                        pass
                os.unlink(HOLD)
            elif action == "drop":
                Hand().forget(aside)
                os.unlink(HOLD)


main(sys.argv[1])
