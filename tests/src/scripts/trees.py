# Makes a tree of files in a directory. Arguments: the directory, the kind of tree, and for `plain` how many files.
import os
import stat
import sys

root = os.fsencode(sys.argv[1])
os.makedirs(root, exist_ok=True)
os.chdir(root)


def write(path, text):
    with open(path, "wb") as file:
        file.write(text)


def plain(count):
    for number in range(count):
        directory = b"d%03d" % (number // 100)
        if number % 100 == 0:
            os.makedirs(directory, exist_ok=True)
        write(directory + b"/f%05d" % number, b"file %d\n" % number)


# What shells, Lua, rsyncd.conf, rsync's filters and file lists could take for something else.
HOSTILE = [
    b"a space", b" leading", b"trailing ", b"new\nline", b"\n", b"\r\n", b"tab\there", b"\x01\x7f\x1b[31m",
    b"quote'", b"'", b'quote"', b'"', b"back\\slash", b"\\", b"\\n", b"\\#012", b"*", b"star*star", b"**", b"***", b"?",
    b"[", b"]", b"[a-z]", b"[!a]", b"]]", b"--[[", b"]==]", b"{a,b}", b"-leading", b"-rf", b"--delete", b"--rsync-path=x",
    b"$(touch pwned)", b"`touch pwned`", b";touch pwned;", b"&& touch pwned", b"|cat", b"$HOME", b"~", b"%s%n%d", b"%RSYNC_ARG1%",
    b"#comment", b"; comment", b"+ included", b"- excluded", b"! clear", b"!", b": merge", b"host:path", b"host::module", b"a=b", b"...",
    b"..a", b".hidden", b".b", b"\xff\xfe not utf-8", b"\xc3\xa9t\xc3\xa9", b"\xf0\x9f\xa6\x80", b"x" * 255, b"\xff" * 255, b"\n" * 255,
]


def hostile():
    for name in HOSTILE:
        write(name, b"file " + name)
        inner = b"in/" + name
        os.makedirs(inner, exist_ok=True)
        write(inner + b"/" + name, b"deeper " + name)
    deep = b"/".join([b"deep " + b"x" * 90] * 30)
    os.makedirs(deep, exist_ok=True)
    write(deep + b"/bottom", b"3 km down\n")


def special():
    write(b"text", b"some text\n")
    # Links that lead out, nowhere, round in circles, to a directory, and to a hostile place.
    for name, target in [
        (b"out", b"/etc/passwd"), (b"up", b"../../../../etc"), (b"nowhere", b"/no/such/place"), (b"self", b"self"),
        (b"within", b"text"), (b"directory-link", b"directory"), (b"odd", b"new\nline * \xff"), (b"long", b"y" * 3000),
    ]:
        os.symlink(target, b"link-" + name)
    os.mkdir(b"directory", 0o2775)
    os.chmod(b"directory", 0o3775)
    write(b"directory/inner", b"inner\n")
    os.mkdir(b"empty")
    os.mkdir(b"closed", 0o000)
    write(b"nothing", b"")
    for number, mode in enumerate([0o000, 0o400, 0o777, 0o4755, 0o2755, 0o1644, 0o666]):
        name = b"mode-%04o" % mode
        write(name, name)
        os.chown(name, number * 1000, number * 1000 + 1)
        os.chmod(name, mode)
    os.chown(b"text", 4294967294, 12345)
    os.lchown(b"link-out", 1000, 1001)
    os.link(b"text", b"text-again")
    os.link(b"text", b"directory/text-again")
    os.mknod(b"null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(b"disk", stat.S_IFBLK | 0o640, os.makedev(259, 70000))
    os.mkfifo(b"fifo", 0o600)
    with open(b"sparse", "wb") as file:
        file.write(b"begin")
        file.seek(16 << 20)
        file.write(b"end")
    with open(b"hole", "wb") as file:
        file.truncate(8 << 20)
    write(b"compressible", b"z" * 300000)
    write(b"random", os.urandom(300000))
    for name, time in [(b"old", 0), (b"before", -86400 * 3650), (b"future", 4102444800), (b"fine", 1700000000)]:
        write(b"time-" + name, name)
        os.utime(b"time-" + name, ns=(time * 10**9 + 123456789, time * 10**9 + 123456789))


{"plain": lambda: plain(int(sys.argv[3])), "hostile": hostile, "special": special}[sys.argv[2]]()
