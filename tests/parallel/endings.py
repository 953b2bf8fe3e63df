#!/usr/bin/env python3
"""How a job ends: with one message and one exit code on all ranks, and never by hanging."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, MPI_ENVIRONMENT, json_lines, needs_mpi, run

MODEL = MODELS / "hf/llama-9h-tied"
ENVIRONMENT = {**os.environ, **MPI_ENVIRONMENT}


def ends(process, code, *words, within=None, began=None):
    assert process.returncode == code, "exit code %d, not %d\n%s" % (process.returncode, code, process.stderr)
    for word in words:
        assert word in process.stderr, "%r is not in\n%s" % (word, process.stderr)
    if within is not None:
        assert time.monotonic() - began < within, "took longer than %g s" % within


def mixed_job(first, second):
    """Two ranks with different arguments."""
    command = ["mpirun", "-np", "1", BINARY, *map(str, first), ":", "-np", "1", BINARY, *map(str, second)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)


def check_disagreement():
    began = time.monotonic()
    other = MODELS / "hf/llama-4h"
    ends(mixed_job(("run", "-m", other, "--quant", 4, "-p", "x"), ("run", "-m", other, "--quant", 8, "-p", "x")), 3,
         "--quant", "4", "8", within=20, began=began)
    began = time.monotonic()
    ends(mixed_job(("run", "-m", other, "-p", "x"), ("run", "-m", MODELS / "hf/qwen2-tied", "-p", "x")), 3,
         "model", within=20, began=began)


def check_joint_errors():
    other = MODELS / "hf/llama-4h"
    ends(mixed_job(("run", "-m", other, "-p", "x"), ("run", "-m", "/nowhere", "-p", "x")), 4, "rank 1", "/nowhere")
    long_prompt = ",".join(["1"] * 5000)
    for ranks in (1, 3):
        process = run(ranks, "run", "-m", MODEL, "--cpu", "--tokens", long_prompt)
        ends(process, 2, "5000")
        assert process.stderr.count("5000") == 1, "said once for the whole job"
        ends(run(ranks, "run", "-m", MODEL, "--cpu", "--kv-blocks", 10**12, "-p", "x"), 5, "free", "--max-seq-len")
        before, long = '{"tokens":[1,2]}\n{"tokens":[3]}\n', '{"tokens":[%s]}\n' % long_prompt
        for bad, said in ('{"tokens":[99999]}\n', "99999"), ("{\n", "JSON"), (long, "5000"):
            process = run(ranks, "score", "-m", MODEL, "--cpu", stdin=before + bad + before)
            ends(process, 2, "line 3", said)
            assert [line["tokens"] for line in json_lines(process.stdout)] == [[1, 2], [3]], process.stdout
        ends(run(ranks, "score", "-m", MODEL, "--cpu", stdin='{"tokens":[1,2],"text":"a"}\n'), 2, "line 1", "either")


def check_dry_run():
    process = run(3, "run", "-m", MODEL, "--cpu", "--dry-run", "-p", "x")
    ends(process, 0, "layout: mode=tensor-parallel transport=mpi bootstrap=mpi ranks=3 nodes=1 tp=3 pp=1 dp=1",
         "rank 0: host=", "rank 2: host=", "units=L0-1", "kv_blocks=")
    assert process.stdout == ""


def waiting_job(ranks):
    """A job whose ranks are idle: the head waits for standard input."""
    launcher = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
    process = subprocess.Popen([*launcher, BINARY, "score", "-m", str(MODEL), "--cpu"], text=True, env=ENVIRONMENT,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(json.dumps({"tokens": [1, 2, 3]}) + "\n")
    process.stdin.flush()
    process.stdout.readline()  # the loop is running
    return process


def children(process):
    """Processes of the job's ranks, by rank."""
    pids = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    by_rank = {}
    for pid in pids:
        environment = pathlib.Path("/proc", pid, "environ").read_bytes().split(b"\0")
        for entry in environment:
            if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                by_rank[int(entry.split(b"=")[1])] = int(pid)
    return by_rank


def check_killed_rank():
    for victim in (2, 0):
        job = waiting_job(3)
        ranks = children(job)
        assert sorted(ranks) == [0, 1, 2], ranks
        began = time.monotonic()
        os.kill(ranks[victim], signal.SIGKILL)
        _, stderr = job.communicate(timeout=30)
        assert job.returncode != 0 and time.monotonic() - began < 10, stderr
        assert "rank %d" % victim in stderr, stderr


def check_idle_ranks_are_kept_alive():
    job = waiting_job(3)
    time.sleep(7)  # longer than --stall-timeout
    out, stderr = job.communicate(json.dumps({"tokens": [1, 2, 3]}) + "\n", timeout=30)
    assert job.returncode == 0 and len(out.splitlines()) == 1, stderr


def check_signals():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        job = waiting_job(1)
        job.send_signal(number)
        job.communicate(timeout=10)
        assert job.returncode == code, job.returncode


needs_mpi()
check_disagreement()
check_joint_errors()
check_dry_run()
check_killed_rank()
check_idle_ranks_are_kept_alive()
check_signals()
