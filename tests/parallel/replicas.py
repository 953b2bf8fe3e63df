#!/usr/bin/env python3
"""A server with copies of the model (--dp) gives each request the text of one rank, keeps all copies busy, and ends as one
when a rank of any copy dies. A stage that takes longer than --step-timeout for a prompt is slow, not lost."""
import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, MPI_ENVIRONMENT, has_mpi
from process_facts import children
from server import Server, Stream

ENGINE = ("-m", MODELS / "hf/qwen3-sharded", "--cpu-math", "f32", "--threads", 1)
REQUESTS = [{"prompt": "the %s of %d" % (word, n), "max_tokens": 24, "ignore_eos": True, "seed": n, "temperature": n % 3 / 2}
            for n, word in enumerate(("cat", "weight", "end", "colour") * 6)]


def answers(server):
    """Of all requests at once."""
    with concurrent.futures.ThreadPoolExecutor(len(REQUESTS)) as pool:
        return list(pool.map(lambda request: server.post("/v1/completions", request)["choices"][0]["text"], REQUESTS))


def gauges(server, name):
    """By copy."""
    found = re.findall(r'^%s\{.*replica="(\d+)"\} (\S+)$' % name, server.request("GET", "/metrics")[2], re.MULTILINE)
    return [float(value) for _, value in sorted(found)]


def check_answers(what, server, replicas, expected):
    status = server.get("/v1/dinfer/status")
    assert status["replicas"] == replicas and status["layout"] == "hybrid", status
    for _ in range(3):
        assert answers(server) == expected, what
    streams = [Stream(server, n=4, max_tokens=480) for _ in range(2 * replicas)]
    running = gauges(server, "dinfer_replica_requests_running")
    assert running == [8.0] * replicas, (what, running)
    for stream in streams:
        stream.leave()
    server.wait_idle()
    free = gauges(server, "dinfer_replica_kv_blocks_free")
    assert len(set(free)) == 1 and sum(free) == server.get("/v1/dinfer/status")["engine"]["kv_blocks"], free
    assert server.end(signal.SIGUSR1) == 0
    print("%s: the texts of one rank" % what, flush=True)


def check_dead_rank(what, server, codes):
    """A rank of the last copy dies: all clients hear of it."""
    streams = [Stream(server, n=4, max_tokens=480) for _ in range(4)]
    began = time.monotonic()
    os.kill(children(server.process.pid)[-1], signal.SIGKILL)
    for stream in streams:
        stream.join(15)
        assert '"error"' in stream.text and re.search(r"rank \d+ \(pid \d+ on host \S+\) died", stream.text), stream.text[-700:]
        assert stream.ended - began < 1.0, stream.ended - began
    assert server.wait() in codes
    print("%s: clients told of a dead rank" % what, flush=True)


def check_slow_stage():
    """Each stage takes some seconds for the prompt."""
    process = subprocess.run(
        [BINARY, "bench", "--cpu", "--shape", "smollm2-135m", "--threads", "1", "--pp", "2", "--prefill", "4096",
         "--max-batch-tokens", "4096", "--bench-tokens", "1", "--repeat", "1", "--step-timeout", "2", "--json"],
        capture_output=True, text=True, timeout=250, env={**os.environ, **MPI_ENVIRONMENT})
    assert process.returncode == 0, process.stderr
    row = json.loads(process.stdout)["rows"][0]
    seconds = row["tokens"] / row["tok_s_median"]
    assert seconds > 2 * 2 + 1, "the stages took %.1f s together: a longer prompt shows more" % seconds
    print("a prompt of %.1f s in stages with a step timeout of 2 s" % seconds, flush=True)


def ways():
    """What, ranks under a launcher or 1, options, replicas, exit codes of a lost job."""
    yield "supervisor, --dp 2", 1, ("--dp", 2), 2, (7,)
    yield "supervisor, --pp 2 --dp 2", 1, ("--pp", 2, "--dp", 2), 2, (7,)
    if has_mpi():
        yield "mpirun of 4, --dp 2", 4, ("--dp", 2), 2, (7, 137)


if __name__ == "__main__":
    with Server(1, *ENGINE) as alone:
        texts = answers(alone)
        alone.end()
    assert len(set(texts)) > len(texts) // 2, texts
    for name, count, options, replicas, _ in ways():
        with Server(count, *ENGINE, *options) as job:
            check_answers(name, job, replicas, texts)
    for name, count, options, _, codes in ways():
        with Server(count, *ENGINE, *options) as job:
            check_dead_rank(name, job, codes)
    check_slow_stage()
