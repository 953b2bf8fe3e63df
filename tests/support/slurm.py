"""A Slurm of two nodes on this machine, with keys, ports and folders of its own: munged, slurmctld and two slurmd,
each of these with its own host name, /tmp and /dev/shm, so that the nodes share no memory. Unavailable where the
packages (slurmctld slurmd slurm-client munge) or the rights are missing."""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from tcp_jobs import environment, free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "sinfo", "unshare")
NODE = """hostname "$1" && mount -t tmpfs none /tmp && mount -t tmpfs none /dev/shm && exec slurmd -D -N "$1" -f "$2" """


class Unavailable(Exception):
    pass


class Slurm:
    def __init__(self):
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
        if missing or os.geteuid() != 0:
            raise Unavailable("missing: %s" % ", ".join(missing) if missing else "not root")
        # Not under /tmp, which each node has for itself.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dinfer-slurm-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.conf = self.folder / "slurm.conf"
        self.environment = environment(SLURM_CONF=self.conf, PATH=path)
        self._daemons = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        folder = self.folder
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._run("munged", "--foreground", "--force", "--key-file", key, "--socket", folder / "munge.socket", "--pid-file",
                  folder / "munged.pid", "--log-file", folder / "munged.log", "--seed-file", folder / "munged.seed")
        self._wait(lambda: (folder / "munge.socket").exists(), "munged")
        host, ports = socket.gethostname(), free_ports(3)
        lines = ["ClusterName=dinfer", "SlurmctldHost=%s(127.0.0.1)" % host, "SlurmctldPort=%d" % ports[0],
                 "AuthType=auth/munge", "AuthInfo=socket=%s/munge.socket" % folder, "CredType=cred/munge",
                 "SlurmUser=root", "SlurmdUser=root", "StateSaveLocation=%s/state" % folder,
                 "SlurmdSpoolDir=%s/%%n" % folder, "SlurmctldPidFile=%s/ctld.pid" % folder,
                 "SlurmdPidFile=%s/%%n.pid" % folder, "SlurmctldLogFile=%s/ctld.log" % folder,
                 "SlurmdLogFile=%s/%%n.log" % folder, "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none",
                 "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "ReturnToService=2", "MpiDefault=none",
                 "SlurmdParameters=config_overrides", "KillWait=30"]
        lines += ["NodeName=node%d NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=2 State=UNKNOWN" % (i, host, ports[i + 1])
                  for i in range(2)]
        lines += ["PartitionName=all Nodes=ALL Default=YES State=UP OverSubscribe=YES"]
        self.conf.write_text("\n".join(lines) + "\n")
        (folder / "state").mkdir()
        self._run("slurmctld", "-D", "-c", "-f", self.conf)
        for i in range(2):
            self._run("unshare", "-m", "-u", "--propagation", "private", "sh", "-c", NODE, "sh", "node%d" % i, self.conf)
        self._wait(lambda: self.output("sinfo", "-h", "-N", "-o", "%T") == "idle\nidle\n", "the nodes")

    def _run(self, *arguments):
        log = open(self.folder / (pathlib.Path(arguments[0]).name + ".out"), "a")
        self._daemons.append(subprocess.Popen(list(map(str, arguments)), env=self.environment, stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log))

    def _wait(self, condition, what, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            ended = [daemon.args[0] for daemon in self._daemons if daemon.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "\n".join("%s:\n%s" % (path.name, path.read_text(errors="replace")[-1500:])
                                 for path in sorted(self.folder.glob("*.*")) if path.suffix in (".log", ".out"))
                raise Unavailable("%s did not come up (ended: %s)\n%s" % (what, ended, logs))
            time.sleep(0.1)

    def output(self, *arguments):
        return subprocess.run(list(map(str, arguments)), env=self.environment, capture_output=True, text=True,
                              timeout=60).stdout

    def srun(self, *arguments, **streams):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen(["srun", "-N2", "--overcommit", *map(str, arguments)], env=self.environment, text=True,
                                **pipes)

    def __exit__(self, *_):
        if len(self._daemons) > 1:
            with contextlib.suppress(subprocess.TimeoutExpired, Unavailable):
                subprocess.run(["scancel", "--user=root"], env=self.environment, capture_output=True, timeout=10)
                self._wait(lambda: self.output("squeue", "-h") == "", "the end of all jobs", seconds=40)
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
