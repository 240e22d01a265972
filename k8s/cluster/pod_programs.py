"""The programs that run in the pod that mounts a volume: one sends files, the other receives them."""

SEND = """
import json, os, sys
root, out = os.path.realpath(sys.argv[1]), sys.stdout.buffer
for line in sys.stdin.buffer:
    key, start = json.loads(line)
    path = os.path.realpath(os.path.join(root, key))
    try:
        if not path.startswith(root + os.sep):
            raise FileNotFoundError(path)
        file = open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        out.write(b"null\\n")
    else:
        with file:
            left = max(0, file.seek(0, os.SEEK_END) - start)
            out.write(b"%d\\n" % left)
            file.seek(start)
            while left:
                block = file.read(min(left, 1 << 20))
                left -= out.write(block) or sys.exit(f"{path} has become shorter")
    out.flush()
"""
"""What the pod runs for each connection. For a line `[key, start]` it sends the number of bytes from there to the end
of the file, and these bytes; `null` if there is no such file, or a link leads out of the volume. It goes on until its
stdin ends: of a command that ends by itself, a node may drop the last bytes (kubernetes/kubectl#1361)."""
RECEIVE = """
import fcntl, hashlib, json, os, secrets, sys, time
root = os.path.realpath(sys.argv[1])
def say(**values):
    print(json.dumps(values), flush=True)
def digest(path):
    whole, said = hashlib.sha256(), time.monotonic()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
            if time.monotonic() - said > 5:
                say(busy=True)
                said = time.monotonic()
    return whole.hexdigest()
def part_of(folder, name, sha256):
    file = open(os.path.join(folder, f".{name}.{sha256[:16]}.tmp"), "a+b")
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(file.name) and os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
            file = open(file.name, "a+b")
        except BlockingIOError:
            say(busy=True)
            time.sleep(0.5)
        except OSError:
            break
    return open(os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp"), "a+b")
def receive(path, sha256, size):
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    if os.path.isfile(path) and os.path.getsize(path) == size and digest(path) == sha256:
        return say(there=True)
    with part_of(folder, name, sha256) as file:
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        start, space = file.seek(0, os.SEEK_END), os.statvfs(folder)
        free = space.f_bavail * space.f_frsize
        if size - start > free:
            return say(error=f"{size - start} bytes do not fit into the {free} that are free")
        say(start=start)
        left = size - start
        while left:
            block = sys.stdin.buffer.read1(min(left, 1 << 20)) or sys.exit()
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if digest(file.name) != sha256:
            os.unlink(file.name)
            return say(damaged=True)
        os.replace(file.name, path)
        at = os.open(folder, os.O_RDONLY)
        os.fsync(at)
        os.close(at)
        say(done=True)
for line in sys.stdin.buffer:
    key, sha256, size = json.loads(line)
    path = os.path.realpath(os.path.join(root, key))
    try:
        receive(path, sha256, size) if path.startswith(root + os.sep) else say(error="it leads out of the volume")
    except OSError as error:
        say(error=error.strerror)
"""
"""What the pod runs to receive files. For a line `[key, sha256, size]` it says `there`, or from where on it takes the
file's bytes (`start`: what an earlier call has brought), and after them `done` or `damaged`; else `error`, and in
between `busy`. A file is visible when it is whole; two that send the same do not write to one part."""
