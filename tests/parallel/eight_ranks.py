#!/usr/bin/env python3
"""The layouts of a machine with eight GPUs on eight CPU ranks, and on the GPUs where there are eight: the tokens of one
rank; a rank that is lost at work is named in seconds."""
import json
import os
import pathlib
import re
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, has_mpi, must_run
from tcp_jobs import expect, finish, gpu_nodes, multinode, ring, run_all, start
from waiting_job import Job, no_processes_left

MODEL = MODELS / "hf" / "qwen3-sharded"  # 8 query heads, one a rank; 2 KV heads, on 4 ranks each
MIXTURE = MODELS / "hf" / "qwen3-moe"  # 4 query heads, 8 experts
CPU = ("--cpu", "--cpu-math", "f32", "--threads", 1)
GPU = ("--max-seq-len", 512, "--kv-memory-fraction", 0.05)
MPIRUN = ("mpirun", "-np", "8")
VERDICT = re.compile(r"rank 5 \(pid (\d+) on host \S+\) died during|no answer from rank 5 \(pid (\d+) on host")


def command_of(model, engine):
    return ("run", "-m", model, *engine, "--start-timeout", 60, "--json", "--raw", "--ignore-eos", "--max-tokens", 16,
            "--temperature", 0, "--tokens", "5,6,7,300,9")


def on_one_rank(command, gpus):
    return json.loads(run_all([{}], *command, *(("--tp", 1) if gpus else ()))[0][1])["tokens"]


def check_layouts(folder, engine, gpus):
    command = command_of(MODEL, engine)
    nodes = gpu_nodes if gpus else multinode
    expected = on_one_rank(command, gpus)
    if has_mpi():
        mpirun = lambda *arguments: finish([start({}, *command, *arguments, launcher=MPIRUN)])
        expect(expected, "mpirun", mpirun(), ("mode=tensor-parallel", "ranks=8", "tp=8 pp=1"))
        expect(expected, "mpirun, --tp 4 --pp 2", mpirun("--tp", 4, "--pp", 2), ("mode=hybrid", "tp=4 pp=2"))
        expect(expected, "mpirun, --tp 2 --dp 4", mpirun("--tp", 2, "--dp", 4), ("ranks=8", "tp=2", "dp=4"))
    expect(expected, "--tp 8", run_all([{}], *command, "--tp", 8), ("bootstrap=local ranks=8", "tp=8"))
    expect(expected, "two nodes of four", run_all(nodes(8, 4), *command), ("ranks=8 nodes=2 tp=8",))
    expect(expected, "two nodes of four, --pp 2", run_all(nodes(8, 4), *command, "--pp", 2), ("tp=4 pp=2",))
    expect(expected, "ring", run_all(ring(folder, 8), *command), ("bootstrap=ring ranks=8", "tp=8"))


def check_mixture(engine, gpus):
    command = command_of(MIXTURE, engine)
    expected = on_one_rank(command, gpus)
    expect(expected, "experts, --tp 4 --pp 2", run_all([{}], *command, "--tp", 4, "--pp", 2), ("ranks=8", "tp=4 pp=2"))
    expect(expected, "experts, --tp 4 --dp 2", run_all([{}], *command, "--tp", 4, "--dp", 2), ("ranks=8", "tp=4", "dp=2"))


def check_lost_rank(folder, number, within, arguments, launcher):
    log = pathlib.Path(folder, "log")
    job = Job([{}], *arguments, launcher=launcher, log=log)
    ranks = job.rank_processes()
    assert len(ranks) == 8, ranks
    job.work()
    os.kill(ranks[5], number)
    began = time.monotonic()
    while not (found := VERDICT.search(log.read_text())):
        assert time.monotonic() - began < within, log.read_text()
        time.sleep(0.005)
    took = time.monotonic() - began
    assert int(found[1] or found[2]) == ranks[5], found[0]
    code = job.nodes[0].wait(15)
    assert code in ((7, 137) if launcher else (7,)), code  # mpirun reports what it saw first
    no_processes_left(ranks)
    print("%s, rank 5 of 8 %s: named after %.2f s" % ("mpirun" if launcher else "one command", number.name, took), flush=True)


with tempfile.TemporaryDirectory() as scratch:
    check_layouts(scratch, CPU, gpus=False)
    check_mixture(CPU, gpus=False)
    if len((json.loads(must_run(1, "--version", "--json"))["cuda"] or {}).get("gpus", [])) >= 8:
        check_layouts(scratch, GPU, gpus=True)
        check_mixture(GPU, gpus=True)
    for arguments, launcher in ((("--tp", 8), ()), *((((), MPIRUN),) if has_mpi() else ())):
        check_lost_rank(scratch, signal.SIGKILL, 2, arguments, launcher)
        check_lost_rank(scratch, signal.SIGSTOP, 6, arguments, launcher)
