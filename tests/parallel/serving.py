#!/usr/bin/env python3
"""A server of several ranks answers overlapping requests and ends with its last rank, however it was started."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, has_mpi
from process_facts import LISTENING, children, sockets
from server import LONG, Server, Stream
from tcp_jobs import environment, free_ports, multinode, ring

ENGINE = ("-m", MODELS / "hf/qwen3-sharded", "--cpu-math", "f32", "--threads", 1)
RANKS = 4
SHORT = {**LONG, "prompt": "a", "max_tokens": 8}


def check_overlap(server, expected):
    """The second request begins and ends while the first one lasts."""
    long = Stream(server)
    text = server.post("/v1/completions", SHORT)["choices"][0]["text"]
    assert long.is_alive(), "the requests did not overlap"
    long.join(60)
    assert '"finish_reason":"length"' in long.text, long.text[-500:]
    assert text == expected


def ranks_of(name, server, others):
    if name in ("mpirun", "supervisor"):
        return children(server.process.pid)
    return [pid for each in (server.process, *others) for pid in (each.pid, *children(each.pid))]


@contextlib.contextmanager
def started(name, nodes, *arguments, ranks=1, port=0):
    """The server on the head, and the commands of the other nodes."""
    others = [subprocess.Popen([BINARY, "serve", "--cpu", *map(str, (*ENGINE, *arguments))], env=environment(**node),
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for node in nodes[1:]]
    try:
        began = time.monotonic()
        with Server(ranks, *ENGINE, *arguments, environment=environment(**nodes[0]), port=port) as server:
            print("%s: ready after %.2f s" % (name, time.monotonic() - began), flush=True)
            yield server, others
    finally:
        for other in others:
            if other.poll() is None:
                other.kill()
                other.wait()


def check_answers(name, server, others, expected):
    listening = {port for _, port, state in sockets(ranks_of(name, server, others)) if state == LISTENING}
    # The API's port and each rank's for messages; MPI has its own.
    assert name == "mpirun" or (server.port in listening and len(listening) == 1 + RANKS), listening
    check_overlap(server, expected)
    # A client that leaves takes its sequence away on all ranks: the next request is served.
    Stream(server).leave()
    server.wait_idle()
    check_overlap(server, expected)
    assert server.end(signal.SIGUSR1) == 0
    assert [other.wait(10) for other in others] == [0] * len(others)


def check_dead_rank(name, server, others):
    """Clients hear of it within a second, from the head."""
    streams = [Stream(server, n=8, max_tokens=480) for _ in range(3)]
    began = time.monotonic()
    victim = others[0].pid if others else children(server.process.pid)[2]
    os.kill((children(victim) or [victim])[0], signal.SIGKILL)
    for stream in streams:
        stream.join(15)
        assert '"error"' in stream.text and re.search(r"rank [12] \(pid \d+ on host \S+\) died during step", stream.text), \
            stream.text[-700:]
        assert stream.ended - began < 1.0, stream.ended - began
    assert server.wait() in ((7, 137) if name == "mpirun" else (7,))
    print("%s: clients told of a dead rank after %.3f s" % (name, max(stream.ended for stream in streams) - began), flush=True)


def check_shared_port(folder):
    """Ranks need the ring's master_port until they have met, so that it may be the API's as well."""
    port = free_ports(1)[0]
    nodes = ring(folder, 2, **{"rank%d" % rank: {"master_port": port} for rank in range(2)})
    with started("ring at the API's port", nodes, port=port) as (server, others):
        assert server.port == port and server.post("/v1/completions", SHORT)["choices"][0]["text"]
        assert server.end(signal.SIGUSR1) == 0
        assert [other.wait(10) for other in others] == [0]


def ways(folder):
    if has_mpi():
        yield "mpirun", ([{}],), {"ranks": RANKS}
    yield "supervisor", ([{}], "--tp", RANKS), {}
    yield "multinode", (multinode(RANKS, 2),), {}
    yield "ring", (ring(folder, RANKS),), {}


with tempfile.TemporaryDirectory() as scratch:
    with Server(1, *ENGINE) as alone:
        text = alone.post("/v1/completions", SHORT)["choices"][0]["text"]
        alone.end()
    for name, arguments, options in ways(scratch):
        with started(name, *arguments, **options) as (server, others):
            check_answers(name, server, others, text)
    if has_mpi():
        with started("mpirun, --pp 2", [{}], "--pp", 2, ranks=RANKS) as (server, others):
            check_answers("mpirun", server, others, text)
    check_shared_port(scratch)
    for name, arguments, options in ways(scratch):
        with started(name, *arguments, **options) as (server, others):
            check_dead_rank(name, server, others)
