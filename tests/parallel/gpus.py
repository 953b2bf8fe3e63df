#!/usr/bin/env python3
"""Every way to start gives the same tokens on two GPUs as on one, and two ranks on one GPU are refused. Skipped where
there are fewer."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, SKIPPED, must_run
from server import LONG, Server, Stream
from tcp_jobs import environment, gpu_nodes, multinode, ring

ENGINE = ("--max-seq-len", 512, "--max-batch-tokens", 512, "--kv-memory-fraction", 0.05, "--start-timeout", 40)
PROMPT = ("--json", "--raw", "--ignore-eos", "--max-tokens", 24, "--temperature", 0, "--tokens", "421,17,33,5")
BOTH = {"CUDA_VISIBLE_DEVICES": "0,1"}
NO_NCCL = {"MISTRALRS_NO_NCCL": "1"}


def run_all(model, nodes, *arguments, launcher=(), timeout=60):
    """(exit code, stdout, stderr) of each node's command, and the seconds they took together."""
    began = time.monotonic()
    line = [*launcher, BINARY, "run", "-m", str(MODELS / "hf" / model), *map(str, (*ENGINE, *PROMPT, *arguments))]
    jobs = [subprocess.Popen(line, env=environment(**node), text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for node in nodes]
    try:
        ends = [job.communicate(timeout=timeout) for job in jobs]
    finally:
        for job in jobs:
            if job.poll() is None:
                job.kill()
    return [(job.returncode, *end) for job, end in zip(jobs, ends)], time.monotonic() - began


def layout(err):
    return next((line for line in err.splitlines() if "layout: " in line), err[-1500:]).split("layout: ")[-1]


def one_node():
    """A node whose local size nobody tells: its GPUs."""
    node = {**multinode(2, 2)[0], **BOTH}
    del node["MISTRALRS_MN_LOCAL_WORLD_SIZE"]
    return [node]


def layer_ways(layers, folder):
    """The same, with layers of their own on each device."""
    split, offload = "0:1;1:%d" % (layers - 1), "0:%d;cpu:1" % (layers - 1)
    topology = pathlib.Path(folder, "topology.yaml")
    topology.write_text("0: {device: 'cuda[1]'}\n1: {device: 'cuda[0]'}\n'/lm_head/': {device: cpu}\n")
    mapped = "mode=layer-map transport=%s bootstrap=%s"
    return (("-n", [BOTH], ("-n", split), (), mapped % ("p2p", "local")),
            ("-n, no NCCL", [{**BOTH, **NO_NCCL}], ("-n", split), (), mapped % ("p2p", "local")),
            ("-n, other order", [BOTH], ("-n", "1:1;0:%d" % (layers - 1)), (), mapped % ("p2p", "local")),
            ("-n, second GPU alone", [BOTH], ("-n", "1:%d" % layers), (), "mode=single"),
            ("-n, --no-p2p", [BOTH], ("-n", split, "--no-p2p"), (), mapped % ("staged", "local")),
            ("-n, CPU offload", [BOTH], ("-n", offload), (), "1 GPU and 1 CPU|layer-map"),
            ("topology, two GPUs and the CPU", [BOTH], ("--topology", topology), (), "2 GPU and 1 CPU"),
            ("--pp 2", [BOTH], ("--pp", 2), (), mapped % ("p2p", "local")),
            ("mpirun, --pp 2", [BOTH], ("--pp", 2), ("mpirun", "-np", "2"), mapped % ("p2p", "mpi")),
            ("plain, no NCCL", [{**BOTH, **NO_NCCL}], (), (), mapped % ("p2p", "local")))


def ways(folder):
    """name, nodes, arguments, launcher, words of the layout line"""
    mpirun = ("mpirun", "-np", "2")
    rings = [{**node, **BOTH} for node in ring(folder, 2)]
    return (("plain", [BOTH], (), (), 'transport=nccl bootstrap=local ranks=2 nodes=1 tp=2|2 visible GPUs'),
            ("--tp 1", [BOTH], ("--tp", 1), (), "mode=single transport=none"),
            ("mpirun", [BOTH], (), mpirun, "transport=nccl bootstrap=mpi"),
            ("mpirun, no NCCL", [{**BOTH, **NO_NCCL}], (), mpirun, "transport=p2p bootstrap=mpi"),
            ("--tp 2, no NCCL", [{**BOTH, **NO_NCCL}], ("--tp", 2), (), "transport=p2p bootstrap=local"),
            ("multinode, two hosts", gpu_nodes(2, 1), (), (), "transport=nccl bootstrap=multinode ranks=2 nodes=2"),
            ("multinode, one node", one_node(), (), (), "transport=nccl bootstrap=multinode ranks=2 nodes=1"),
            ("ring", rings, (), (), "transport=ring bootstrap=ring ranks=2"))


def check_ways(folder):
    wrong = []
    for model in ("llama-4h", "qwen3-sharded"):
        alone, _ = run_all(model, [{"CUDA_VISIBLE_DEVICES": 0}])
        assert alone[0][0] == 0, alone
        expected = json.loads(alone[0][1])["tokens"]
        print("%s: one GPU: %s" % (model, layout(alone[0][2])), flush=True)
        layers = json.loads((MODELS / "hf" / model / "config.json").read_text())["num_hidden_layers"]
        for name, nodes, arguments, launcher, words in (*layer_ways(layers, folder), *ways(folder)):
            results, seconds = run_all(model, nodes, *arguments, launcher=launcher)
            line = layout(results[0][2])
            right = all(code == 0 for code, _, _ in results) and all(word in line for word in words.split("|"))
            right = right and json.loads(results[0][1])["tokens"] == expected
            if "pp=2" in line:  # each link was tried and measured
                right = right and "link: cuda:0 -> c" in results[0][2]
            print("%s %s: %s in %.1f s: %s" % ("ok  " if right else "FAIL", model, name, seconds, line), flush=True)
            if not right:
                wrong.append(name)
                for code, out, err in results:
                    print("  exit code %d\n%s\n%s" % (code, out[-600:], err[-1500:]), flush=True)
    assert not wrong, wrong


def check_unfit_number():
    """Nine heads on two GPUs: refused with the sizes that fit; not evenly, or on one of them, they run."""
    expected = json.loads(run_all("llama-9h-tied", [{"CUDA_VISIBLE_DEVICES": 0}])[0][0][1])["tokens"]
    results, _ = run_all("llama-9h-tied", [BOTH])
    assert results[0][0] == 3 and "work: 1, 3, 9" in results[0][2], results
    uneven, _ = run_all("llama-9h-tied", [BOTH], "--uneven-tp")
    assert json.loads(uneven[0][1])["tokens"] == expected, uneven


def refused(nodes, code, *words, arguments=(), launcher=()):
    results, _ = run_all("llama-4h", nodes, *arguments, launcher=launcher)
    assert results[0][0] == code and all(word in results[0][2] for word in words), results
    print("ok   refused:", results[0][2].strip().splitlines()[-1][:200], flush=True)


def check_refusals(folder):
    refused([{**multinode(2, 2)[0], **BOTH, **NO_NCCL}], 3, "MISTRALRS_MN_GLOBAL_WORLD_SIZE", "MISTRALRS_NO_NCCL")
    refused([{**ring(folder, 2)[0], **BOTH, "MISTRALRS_NO_NCCL": "0"}], 3, "RING_CONFIG", "MISTRALRS_NO_NCCL=1")


def check_shared_gpu():
    """One GPU is shown to two ranks, which share a model or have one each."""
    for arguments in ((), ("--pp", 2), ("--dp", 2)):
        refused([{"CUDA_VISIBLE_DEVICES": "0"}], 6, "ranks 0 and 1 are on the same GPU", arguments=arguments,
                launcher=("mpirun", "-np", "2"))


def check_server():
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
    model = ("-m", MODELS / "hf/qwen3-sharded", *ENGINE)
    with Server(1, *model, cpu=False) as server:
        long = Stream(server)
        short = server.post("/v1/completions", {**LONG, "max_tokens": 8})
        assert len(short["choices"][0]["text"]) > 0 and long.is_alive()
        long.join(30)
        assert server.end(signal.SIGUSR1) == 0
    print("ok   serve: overlapping requests, drained", flush=True)
    with Server(1, *model, cpu=False) as server:
        streams = [Stream(server) for _ in range(4)]
        ranks = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout.split()
        began = time.monotonic()
        os.kill(int(ranks[1]), signal.SIGKILL)
        code = server.wait(20)
        took = time.monotonic() - began
        for stream in streams:
            stream.join(5)
        log = "".join(server.log)
        assert code == 7 and "rank 1 (pid %s" % ranks[1] in log, (code, log)
        print("ok   serve: rank 1 killed, job ended with 7 after %.2f s" % took, flush=True)


if __name__ == "__main__":
    build = json.loads(must_run(1, "--version", "--json"))
    gpus = (build["cuda"] or {}).get("gpus", [])
    if gpus and build["mpi"]:
        check_shared_gpu()
    if len(gpus) < 2:
        print("%d GPUs: skipped" % len(gpus))
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as scratch:
        check_ways(scratch)
        check_unfit_number()
        check_refusals(scratch)
    check_server()
