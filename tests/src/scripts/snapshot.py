# Tells what is in a tree, one line for each entry: its name, a tab, and all of it that a mirror has to keep.
# The agent's own directory at the root is left out, and all times but those of files: directories' change with every entry, and
# rsync does not set those of links and devices that it makes.
# Argument: the tree.
import hashlib
import os
import stat
import sys

root = os.fsencode(sys.argv[1])
first_names = {}


def content(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def describe(path, name, status):
    mode = status.st_mode
    words = ["%04o" % stat.S_IMODE(mode), "%d:%d" % (status.st_uid, status.st_gid)]
    if stat.S_ISDIR(mode):
        return ["directory"] + words
    if stat.S_ISREG(mode):
        # A hole of a megabyte is kept; how small ones are stored is the file system's affair.
        hole = status.st_size - status.st_blocks * 512 > 1 << 20
        kind = ["file", "%d bytes" % status.st_size, content(path)] + (["sparse"] if hole else [])
        words.append("at %d" % status.st_mtime_ns)
    elif stat.S_ISLNK(mode):
        kind = ["link to " + repr(os.readlink(path))[2:-1]]
        # Nobody looks at the mode of a symbolic link.
        words = words[1:]
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        letter = "character" if stat.S_ISCHR(mode) else "block"
        kind = ["%s device %d:%d" % (letter, os.major(status.st_rdev), os.minor(status.st_rdev))]
    elif stat.S_ISFIFO(mode):
        kind = ["fifo"]
    else:
        kind = ["other"]
    if status.st_nlink > 1:
        kind.append("also " + first_names.setdefault((status.st_dev, status.st_ino), name))
    return kind + words


def walk(directory, prefix):
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if prefix == b"" and entry.name in (b".bascule", b"lost+found"):
                continue
            name = prefix + entry.name
            try:
                status = os.lstat(entry.path)
                text = repr(name)[2:-1]
                print(text + "\t" + ", ".join(describe(entry.path, text, status)))
                if stat.S_ISDIR(status.st_mode):
                    walk(entry.path, name + b"/")
            except FileNotFoundError:
                # It went while we looked, as files do.
                pass


status = os.lstat(root)
print(".\t" + ", ".join(describe(root, ".", status)))
walk(root, b"")
