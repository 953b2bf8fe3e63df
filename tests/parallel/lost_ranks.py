#!/usr/bin/env python3
"""However a job was started: a rank that dies or stops is named by the head in seconds, idle or at work, and nothing
of the job is left. DINFER_FAULT_ROUNDS=20 repeats everything; the times are printed."""
import collections
import json
import os
import pathlib
import re
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import has_mpi
from process_facts import cpu_seconds
from tcp_jobs import multinode, ring
from waiting_job import Job, no_processes_left

ROUNDS = int(os.environ.get("DINFER_FAULT_ROUNDS", "1"))
RANKS = 4
VERDICT = re.compile(r"rank (\d) \(pid (\d+) on host (\S+)\) died during (idle|heartbeat \d+|step \d+ of \d+ sequences?)")
SILENCE = re.compile(r"no answer from rank (\d) \(pid (\d+) on host (\S+)\) within \S+ s during (idle|heartbeat|step)")
times = collections.defaultdict(list)


def ways(folder):
    """name, its nodes, extra arguments, launcher, and how to find the processes of the ranks"""
    supervised = lambda job: job.rank_processes()
    own = lambda job: [node.pid for node in job.nodes]
    if has_mpi():
        yield "mpirun", [{}], (), ("mpirun", "-np", str(RANKS)), supervised
    yield "supervisor", [{}], ("--tp", RANKS), (), supervised
    yield "multinode", multinode(RANKS, 1), (), (), own
    yield "ring", ring(folder, RANKS), (), (), own


def shared_memory(ranks):
    """Ours: MPI's own is mpirun's to remove, and other jobs of this machine come and go."""
    return [name for name in os.listdir("/dev/shm") if name.startswith(tuple("dinfer-%d-" % pid for pid in ranks))]


def first_verdict(log, pattern, within):
    began = time.monotonic()
    while not (found := pattern.search(log.read_text())):
        assert time.monotonic() - began < within + 5, "no verdict in:\n" + log.read_text()
        time.sleep(0.002)
    took = time.monotonic() - began
    assert took < within, "the verdict took %.2f s:\n%s" % (took, log.read_text())
    return took, found


def lose(folder, way, number, victim, busy, pattern, within):
    name, nodes, arguments, launcher, find = way
    log = pathlib.Path(folder, "log")
    job = Job(nodes, *arguments, launcher=launcher, log=log)
    ranks = find(job)
    assert len(ranks) == RANKS, ranks
    if busy:
        job.work()
    os.kill(ranks[victim], number)
    took, verdict = first_verdict(log, pattern, within)
    assert int(verdict[1]) == victim and int(verdict[2]) == ranks[victim], verdict[0]
    assert verdict[3] == socket.gethostname(), verdict[0]
    if number == signal.SIGSTOP and name in ("multinode", "ring"):
        os.kill(ranks[victim], signal.SIGKILL)  # no launcher of ours is there to end it
    codes = [node.wait(15) for node in job.nodes]
    # mpirun reports what it saw first: the killed rank, or the end by another.
    assert codes[0] in ((7, 137) if name == "mpirun" else (7,)), codes
    no_processes_left(ranks)
    assert not shared_memory(ranks), "left in /dev/shm: %s" % shared_memory(ranks)
    times[name, "killed" if number == signal.SIGKILL else "stopped", "at work" if busy else "idle"].append(took)


def check_short_stop(way):
    """A rank that is stopped for a moment costs time, and nothing else."""
    _, nodes, arguments, launcher, find = way
    job = Job(nodes, *arguments, launcher=launcher)
    os.kill(find(job)[2], signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(find(job)[2], signal.SIGCONT)
    job.ask()
    ends = job.results()
    assert [code for code, _ in ends] == [0] * len(nodes), (name, ends)


def check_suspended(way):
    """Ctrl-Z, `scontrol suspend`, a paused container: nobody is lost when all go on, one after the other."""
    name, nodes, arguments, launcher, find = way
    job = Job(nodes, *arguments, "--stall-timeout", 3, launcher=launcher)
    ranks = find(job)
    for pid in ranks:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4.5)
    for pid in reversed(ranks):
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
    time.sleep(3.5)
    job.ask()
    ends = job.results()
    assert [code for code, _ in ends] == [0] * len(nodes), (name, ends)


def check_idle(way):
    """Longer than the stall timeout; the head, which waits for input, included."""
    name, nodes, arguments, launcher, find = way
    job = Job(nodes, *arguments, launcher=launcher)
    used = 1
    for _ in range(3):  # what else runs on the machine makes a wake-up longer
        before = [cpu_seconds(pid) for pid in find(job)]
        time.sleep(6)
        used = min(used, max((cpu_seconds(pid) - was) / 6 for pid, was in zip(find(job), before)))
        if used < 0.02:
            break
    assert used < 0.02, "%s: idle ranks use %.1f%% of a core" % (name, 100 * used)
    job.ask()
    ends = job.results()
    assert [code for code, _ in ends] == [0] * len(nodes), (name, ends)
    print("%s: idle ranks use at most %.1f%% of a core" % (name, 100 * used), flush=True)


def check_state_files(way):
    name, nodes, arguments, launcher, find = way
    with tempfile.TemporaryDirectory() as folder:
        job = Job(nodes, *arguments, "--log-dir", folder, launcher=launcher)
        # A launcher passes the signal on to all ranks.
        for pid in {job.nodes[0].pid} if name in ("mpirun", "supervisor") else find(job):
            os.kill(pid, signal.SIGUSR2)
        paths = [pathlib.Path(folder, "dinfer-state-rank%d.json" % rank) for rank in range(RANKS)]
        end = time.monotonic() + 5
        while not all(path.exists() for path in paths):
            assert time.monotonic() < end, (name, os.listdir(folder))
            time.sleep(0.05)
        for rank, path in enumerate(paths):
            state = json.loads(path.read_text())
            assert (state["rank"], state["ranks"]) == (rank, RANKS) and state["process"]["threads"], state
            assert state["state"].startswith(("idle", "heartbeat", "step")), state["state"]
        job.ask()
        ends = job.results()
    assert [code for code, _ in ends] == [0] * len(nodes), (name, ends)


with tempfile.TemporaryDirectory() as scratch:
    for way in ways(scratch):
        check_state_files(way)
    for way in ways(scratch):
        check_short_stop(way)
        check_suspended(way)
    for way in ways(scratch):
        check_idle(way)
    for round in range(ROUNDS):
        for busy in (False, True):
            for victim in (1, 0) if round % 2 else (2, 3):
                for way in ways(scratch):
                    if victim > 0 or way[0] in ("mpirun", "supervisor"):  # elsewhere the head alone writes there
                        lose(scratch, way, signal.SIGKILL, victim, busy, VERDICT, 1.0)
            for way in ways(scratch):
                lose(scratch, way, signal.SIGSTOP, 1 + round % 3, busy, SILENCE, 5.0)
for key, seconds in sorted(times.items()):
    print("%-10s %-7s %-7s verdict after %.3f to %.3f s, %d times" % (*key, min(seconds), max(seconds), len(seconds)))
