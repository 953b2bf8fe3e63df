#!/usr/bin/env python3
"""What each rank does is told: the same steps on all, under every bootstrap and layout, and the rank that is slowed is named."""
import contextlib
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, has_mpi
from server import Server, in_background

MODEL = MODELS / "hf/llama-9h-tied"
GENERATE = {"prompt": "the", "max_tokens": 200, "temperature": 0, "ignore_eos": True}
# Work of its own, mostly: a rank that is slowed while it waits with the others is not told from them.
PROMPTS = {"prompt": [5, 6, 7, 8] * 110, "max_tokens": 2, "temperature": 0, "ignore_eos": True}
ROW = {"rank", "host", "device", "units", "pid", "weight_bytes", "kv_bytes", "activation_bytes", "memory_bytes", "steps_total",
       "steps", "step_ms", "compute_ms", "collective_ms", "plan_wait_ms", "moved_bytes"}


def table_of(server, ready, seconds=30):
    until = time.monotonic() + seconds
    while True:
        table = server.get("/v1/dinfer/status")["rank_table"]
        if ready(table):
            return table
        assert time.monotonic() < until, table
        time.sleep(0.1)


def series(server, name):
    """Values of a Prometheus series, by rank."""
    _, _, page = server.request("GET", "/metrics")
    lines = [line for line in page.splitlines() if line.startswith("dinfer_rank_%s{" % name)]
    return {int(line.split('rank="')[1].split('"')[0]): float(line.split()[-1]) for line in lines}


def check_table(server, ranks):
    """After work and a heartbeat all ranks have told of all steps."""
    server.post("/v1/completions", GENERATE)
    steps = server.engine()["steps"]
    table = table_of(server, lambda t: all(row.get("steps_total", 0) >= 200 for row in t["rows"]))
    assert [row["rank"] for row in table["rows"]] == list(range(ranks)) and "straggler" in table
    for row in table["rows"]:
        assert ROW <= set(row), sorted(row)
        assert 200 <= row["steps_total"] <= steps and 0 < row["steps"] <= steps
        assert row["memory_bytes"] > 1 << 20 and row["weight_bytes"] > 0 and row["kv_bytes"] > 0
        assert row["step_ms"] > 0 and row["compute_ms"] > 0
        assert abs(row["step_ms"] - row["compute_ms"] - row["collective_ms"]) < 1e-6 + 1e-6 * row["step_ms"]
        assert (row["collective_ms"] > 0 and row["moved_bytes"] > 0) == (ranks > 1), row
        os.kill(row["pid"], 0)
    assert len({row["pid"] for row in table["rows"]}) == ranks
    for name, field in (("steps_total", "steps_total"), ("memory_bytes", "memory_bytes")):
        assert series(server, name) == {row["rank"]: row[field] for row in table["rows"]}, name
    step, collective = series(server, "step_seconds_total"), series(server, "collective_seconds_total")
    assert all(0 <= collective[rank] < step[rank] for rank in range(ranks))
    assert set(series(server, "plan_wait_seconds_total")) == set(series(server, "collective_bytes_total")) == set(range(ranks))
    return table


@contextlib.contextmanager
def slowed(pid):
    """Stops a process every now and then for a while."""
    done = threading.Event()

    def pulses():
        while not done.wait(0.03):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.03)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=pulses)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def check_straggler(server, rank):
    pid = server.get("/v1/dinfer/status")["rank_table"]["rows"][rank]["pid"]

    def is_told(table):
        """It computes longest, and the others wait for it in sums."""
        own, others = table["rows"][rank], [row for row in table["rows"] if row["rank"] != rank]
        return table["straggler"] == rank and all(
            own["compute_ms"] > row["compute_ms"] and own["collective_ms"] < row["collective_ms"] for row in others)

    with in_background(server, PROMPTS), slowed(pid):
        table_of(server, is_told, 40)


for ranks, options in ((1, ()), (3, ()), (2, ("--pp", 2))):
    with Server(ranks, "-m", MODEL, *options) as s:
        check_table(s, ranks)
        assert s.end() == 0

with Server(1, "-m", MODEL, "--tp", 3, "--no-prefix-cache") as s:  # by its own supervisor, over TCP
    check_table(s, 3)
    check_straggler(s, 1)
    s.wait_idle()
    assert s.end() == 0

if has_mpi():
    for straggler in (0, 2):
        with Server(3, "-m", MODEL, "--no-prefix-cache") as s:
            check_table(s, 3)
            check_straggler(s, straggler)
            s.wait_idle()
            assert s.end() == 0
