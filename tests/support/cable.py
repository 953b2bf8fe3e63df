"""Two network namespaces joined by a cable that can be bad: this process carries every frame from one side's TAP
device to the other's. Needs no kernel module beside tun; Unavailable where the system refuses namespaces or devices."""
import contextlib
import fcntl
import heapq
import os
import pathlib
import random
import re
import select
import signal
import struct
import subprocess
import threading
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
LONGEST_FRAME = 65536
# Like ssh: host, words of a shell's command.
REMOTE_SHELL = """#!/bin/sh
host=$1
shift
exec ip netns exec "$host" unshare -u sh -c 'hostname "$0"; eval "$*"' "$host" "$@"
"""


class Unavailable(Exception):
    pass


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


class Cable:
    """Addresses 10.99.8.1 and 10.99.8.2 in the namespaces names[0] and names[1]. By direction (0: from the first side
    to the second): `delay` in seconds, `loss` as a share of the frames (1: cut)."""

    def __init__(self):
        self.names = ["dinfer-%d-%d" % (os.getpid(), side) for side in range(2)]
        self.delay, self.loss = [0.0, 0.0], [0.0, 0.0]
        self._random = random.Random(7)
        self._ends = []
        self._stop = os.pipe()

    def __enter__(self):
        try:
            for side, name in enumerate(self.names):
                ip("netns", "add", name)
                self._ends.append(self._plug(side, name))
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            raise Unavailable(getattr(error, "stderr", None) or error)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()
        return self

    def _plug(self, side, name):
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        # The kernel puts a number into the name that no other device has.
        answer = fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", b"dinfer%d", IFF_TAP | IFF_NO_PI))
        device = answer[:16].rstrip(b"\0").decode()
        ip("link", "set", device, "netns", name)
        ip("-n", name, "addr", "add", "10.99.8.%d/24" % (side + 1), "dev", device)
        ip("-n", name, "link", "set", device, "up")
        ip("-n", name, "link", "set", "lo", "up")
        return end

    def _carry(self):
        under_way = []  # (due, count, direction, frame)
        count = 0
        while True:
            patience = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready = select.select([*self._ends, self._stop[0]], [], [], patience)[0]
            if self._stop[0] in ready:
                return
            for direction, end in enumerate(self._ends):
                if end not in ready:
                    continue
                frame = os.read(end, LONGEST_FRAME)
                if self._random.random() >= self.loss[direction]:
                    count += 1
                    heapq.heappush(under_way, (time.monotonic() + self.delay[direction], count, direction, frame))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, direction, frame = heapq.heappop(under_way)
                try:
                    os.write(self._ends[1 - direction], frame)
                except OSError:
                    pass  # the device is down, or full: lost

    def __exit__(self, *_):
        if getattr(self, "_thread", None):
            os.write(self._stop[1], b"x")
            self._thread.join()
        for name in self.names:
            # A daemon of mpirun that the cut cable keeps waiting for its end.
            for pid in ip("netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", name, check=False)
        for end in self._ends:
            os.close(end)

    def command(self, side, *arguments):
        return ["ip", "netns", "exec", self.names[side], *map(str, arguments)]

    def mpirun(self, ranks, folder):
        """Of the first side, with half of the ranks on each, which have host names of their own. `folder` takes the
        program that mpirun calls in the place of ssh."""
        shell = pathlib.Path(folder, "remote-shell")
        shell.write_text(REMOTE_SHELL)
        shell.chmod(0o755)
        hosts = ",".join("%s:%d" % (name, ranks // 2) for name in self.names)
        return self.command(0, "unshare", "-u", "sh", "-c", 'hostname "$0"; exec "$@"', self.names[0], "mpirun", "--mca",
                            "plm_rsh_agent", shell, "--host", hosts, "--map-by", "node", "--bind-to", "none", "-np", ranks)

    def ranks(self, binary):
        """Processes of an MPI job over the cable, by rank."""
        networks = {os.stat("/run/netns/" + name).st_ino for name in self.names}
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if os.readlink(entry / "exe") != os.path.realpath(binary) or os.stat(entry / "ns/net").st_ino not in networks:
                    continue
                rank = re.search(rb"\0OMPI_COMM_WORLD_RANK=(\d+)\0", (entry / "environ").read_bytes())
            except OSError:
                continue
            found[int(rank[1])] = int(entry.name)
        return [found[rank] for rank in sorted(found)]
