#!/usr/bin/env python3
"""A server of several ranks answers overlapping requests and ends with its last rank, however it was started."""
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS
from process_facts import LISTENING, children, sockets
from server import LONG, Server, Stream
from tcp_jobs import environment, multinode, ring

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


def check_way(name, expected, nodes, *arguments, ranks=1):
    others = [subprocess.Popen([BINARY, "serve", "--cpu", *map(str, (*ENGINE, *arguments))], env=environment(**node),
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for node in nodes[1:]]
    try:
        began = time.monotonic()
        with Server(ranks, *ENGINE, *arguments, environment=environment(**nodes[0])) as server:
            print("%s: %d ranks ready after %.2f s" % (name, RANKS, time.monotonic() - began), flush=True)
            listening = {port for _, port, state in sockets(ranks_of(name, server, others)) if state == LISTENING}
            assert name == "mpirun" or listening == {server.port}, listening  # MPI has its own
            check_overlap(server, expected)
            # A client that leaves takes its sequence away on all ranks: the next request is served.
            Stream(server).leave()
            server.wait_idle()
            check_overlap(server, expected)
            began = time.monotonic()
            assert server.end(signal.SIGUSR1) == 0
            assert [other.wait(10) for other in others] == [0] * len(others)
            print("%s: ended within %.1f s" % (name, time.monotonic() - began), flush=True)
    finally:
        for other in others:
            if other.poll() is None:
                other.kill()


with tempfile.TemporaryDirectory() as scratch:
    with Server(1, *ENGINE) as alone:
        text = alone.post("/v1/completions", SHORT)["choices"][0]["text"]
        alone.end()
    check_way("mpirun", text, [{}], ranks=RANKS)
    check_way("supervisor", text, [{}], "--tp", RANKS)
    check_way("multinode", text, multinode(RANKS, 2))
    check_way("ring", text, ring(scratch, RANKS))
