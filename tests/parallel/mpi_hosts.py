#!/usr/bin/env python3
"""Jobs of mpirun on two hosts: same tokens; a rank of the other host that dies or stops, or a cut cable, is named by the
head as soon as without MPI. Skipped where the system refuses network namespaces. DINFER_FAULT_ROUNDS=20 repeats all."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from cable import Cable, Unavailable
from dinfer import BINARY, MODELS, SKIPPED, needs_mpi
from tcp_jobs import environment
from waiting_job import Job, no_processes_left

ROUNDS = int(os.environ.get("DINFER_FAULT_ROUNDS", "1"))
RANKS = 4
PROMPT = ("run", "-m", MODELS / "hf/qwen3-sharded", "--cpu", "--cpu-math", "f32", "--threads", 1, "--json", "--raw",
          "--ignore-eos", "--max-tokens", 24, "--temperature", 0, "--tokens", "5,6,7,300,9")


def run(*arguments):
    return subprocess.run([*map(str, arguments)], env=environment(), capture_output=True, text=True, timeout=100)


def check_same_tokens(cable, folder):
    expected = json.loads(run(BINARY, *PROMPT).stdout)["tokens"]
    for ranks in (2, 4):
        done = run(*cable.mpirun(ranks, folder), BINARY, *PROMPT)
        assert done.returncode == 0 and json.loads(done.stdout)["tokens"] == expected, done
        assert "bootstrap=mpi ranks=%d nodes=2" % ranks in done.stderr and "signs of life" not in done.stderr, done.stderr


def check_without_pulse(cable, folder):
    """A network that only MPI may use is no reason not to run."""
    done = run(*cable.mpirun(2, folder), BINARY, *PROMPT, "--control-interface", "lo")
    assert done.returncode == 0 and "no signs of life from rank 1 (host %s)" % cable.names[1] in done.stderr, done
    done = run(*cable.mpirun(2, folder), BINARY, *PROMPT, "--control-interface", "10.1.2.3")
    assert done.returncode == 3 and "10.1.2.3" in done.stderr, done


class Loss:
    """A job at work or idle, of which rank 3, on the other host, is lost."""

    def __init__(self, cable, folder, busy):
        self.log = pathlib.Path(folder, "log")
        self.job = Job([{}], launcher=cable.mpirun(RANKS, folder), log=self.log)
        self.ranks = cable.ranks(BINARY)
        assert len(self.ranks) == RANKS, self.ranks
        self.name = "rank 3 (pid %d on host %s)" % (self.ranks[3], cable.names[1])
        if busy:
            self.job.work()
        self.began = time.monotonic()

    def verdict(self, pattern, within):
        """What rank 0 says, or whoever else sees it first on the head's host."""
        while not re.search(pattern, self.log.read_text()):
            assert time.monotonic() - self.began < within + 5, "no verdict in:\n" + self.log.read_text()
            time.sleep(0.002)
        took = time.monotonic() - self.began
        assert took < within, "the verdict took %.2f s:\n%s" % (took, self.log.read_text())
        return took

    def end(self):
        code = self.job.nodes[0].wait(30)
        assert code in (7, 137), (code, self.log.read_text())
        no_processes_left(self.ranks)


def lose(cable, folder, number, busy):
    loss = Loss(cable, folder, busy)
    os.kill(loss.ranks[3], number)
    killed = number == signal.SIGKILL
    words = re.escape(loss.name) + " died during" if killed else "no answer from " + re.escape(loss.name)
    took = loss.verdict(r"rank 0\] error: " + words, 1.0 if killed else 5.0)
    loss.end()
    print("%s %s: named after %.2f s" % ("killed" if killed else "stopped", "at work" if busy else "idle", took), flush=True)


def check_cut(cable, folder):
    """Ranks end on both hosts; mpirun itself goes on waiting for its daemon on the other one."""
    loss = Loss(cable, folder, busy=True)
    cable.loss = [1.0, 1.0]
    took = loss.verdict(r"rank 0\] error: no answer from rank [13] \(pid \d+ on host " + cable.names[1], 5.5)
    loss.verdict(r"rank [13]\] error: no answer from rank 0 ", 6.0)
    no_processes_left(loss.ranks)
    cable.loss = [0.0, 0.0]
    loss.job.nodes[0].kill()
    loss.job.nodes[0].wait()
    print("cut: named after %.2f s on both hosts" % took, flush=True)


if __name__ == "__main__":
    needs_mpi()
    try:
        with Cable() as two_hosts, tempfile.TemporaryDirectory() as scratch:
            check_same_tokens(two_hosts, scratch)
            check_without_pulse(two_hosts, scratch)
            for _ in range(ROUNDS):
                for at_work in (False, True):
                    lose(two_hosts, scratch, signal.SIGKILL, at_work)
                    lose(two_hosts, scratch, signal.SIGSTOP, at_work)
                check_cut(two_hosts, scratch)
    except Unavailable as reason:
        print("no namespaces or TAP devices here:", reason)
        sys.exit(SKIPPED)
