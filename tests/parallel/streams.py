#!/usr/bin/env python3
"""Standard streams of a job of several ranks that are slow, closed or full, and a signal that comes early."""
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS
from tcp_jobs import environment, finish, multinode, ring, start

MODEL = ("-m", MODELS / "hf/qwen3-sharded", "--cpu", "--threads", 1)
STALL = 3  # seconds: the streams are slower
LINE = json.dumps({"tokens": list(range(1, 200))}) + "\n"


def scoring(head, *arguments, **streams):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([BINARY, "score", *map(str, (*MODEL, "--stall-timeout", STALL, *arguments))], text=True,
                            env=environment(**head), **pipes)


def ways(folder):
    """name, variables of the head, arguments, the other nodes"""
    yield "one rank", {}, (), []
    yield "supervisor", {}, ("--tp", 2), []
    yield "stages", {}, ("--pp", 2), []
    for name, nodes in (("multinode", multinode(2, 1)), ("ring", ring(folder, 2))):
        yield name, nodes[0], (), [start(node, "score", *MODEL, "--stall-timeout", STALL) for node in nodes[1:]]


def check_paused_reader(name, head, arguments, others):
    """A pager: the job waits, and goes on where it was."""
    with tempfile.TemporaryFile("w+") as lines:
        lines.write(200 * LINE)
        lines.seek(0)
        job = scoring(head, "--top", 5, *arguments, stdin=lines)
        first = job.stdout.readline()
        assert first, job.stderr.read()
        time.sleep(2 * STALL)
        rest = job.stdout.readlines()
        assert job.wait(30) == 0 and len(rest) == 199, (name, len(rest), job.stderr.read())
        assert all(json.loads(line)["tokens"] == json.loads(first)["tokens"] for line in rest)
    assert [code for code, _, _ in finish(others)] == [0] * len(others)


def check_slow_writer(name, head, arguments, others):
    """A line that comes bit by bit."""
    job = scoring(head, *arguments)
    for _ in range(8 * STALL):
        job.stdin.write(" ")
        job.stdin.flush()
        time.sleep(0.25)
    out, err = job.communicate(LINE, timeout=30)
    assert job.returncode == 0 and json.loads(out)["sum"] < 0, (name, err)
    assert [code for code, _, _ in finish(others)] == [0] * len(others)


def check_signal_while_the_reader_pauses():
    job = scoring({}, "--top", 5, "--tp", 2)
    job.stdin.write(30 * LINE)
    job.stdin.close()
    time.sleep(1)
    began = time.monotonic()
    job.terminate()
    code, took = job.wait(20), time.monotonic() - began
    assert code == 3 and took < 5 and "took nothing" in job.stderr.read(), (code, took)


def check_reader_that_leaves():
    for ranks in (1, 2):
        with tempfile.TemporaryFile("w+") as lines:
            lines.write(200 * LINE)
            lines.seek(0)
            job = scoring({}, "--top", 5, "--tp", ranks, stdin=lines)
            job.stdout.readline()
            job.stdout.close()
            err = job.stderr.read()
            assert job.wait(20) == 3 and "cannot write standard output: Broken pipe" in err and "died" not in err, err


def check_full_disk():
    """A log that cannot be written changes no exit code."""
    for ranks in (1, 2):
        with open("/dev/full", "w") as full:
            for arguments, code in (((*MODEL, "--tokens", "5,6", "--max-tokens", 1), 0), (("-m", "/nowhere", "-p", "a"), 4)):
                ended = subprocess.run([BINARY, "run", "--tp", str(ranks), *map(str, arguments)], env=environment(),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=full, timeout=30)
                assert ended.returncode == code, (ranks, arguments, ended.returncode)


def wait_until_it_listens(port):
    end = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "the head does not listen"
            time.sleep(0.02)


def check_drain_while_starting():
    """SIGUSR1 asks a server to end well, which it does once it has started; other commands do not care."""
    for command, said in ((("serve", "--port", 0), "draining"), (("run", "--tokens", "5,6", "--max-tokens", 2), "2 + 2 tokens")):
        nodes = multinode(2, 1)
        head = start(nodes[0], *command, *MODEL)
        wait_until_it_listens(nodes[0]["MISTRALRS_MN_HEAD_PORT"])
        head.send_signal(signal.SIGUSR1)
        results = finish([head, start(nodes[1], *command, *MODEL)])
        assert [code for code, _, _ in results] == [0, 0] and said in results[0][2], results


with tempfile.TemporaryDirectory() as scratch:
    for check in (check_paused_reader, check_slow_writer):
        for way in ways(scratch):
            check(*way)
check_signal_while_the_reader_pauses()
check_reader_that_leaves()
check_full_disk()
check_drain_while_starting()
