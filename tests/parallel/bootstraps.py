#!/usr/bin/env python3
"""Every way to start a job gives the same tokens, from the head; what cannot be is refused by name."""
import json
import pathlib
import socket
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, has_mpi
from tcp_jobs import SECRET, environment, finish, multinode, ring, run_all, start

MODEL = MODELS / "hf/qwen3-sharded"
PROMPT = ("run", "-m", MODEL, "--cpu", "--cpu-math", "f32", "--threads", 1, "--json", "--raw", "--ignore-eos",
          "--max-tokens", 24, "--temperature", 0, "--tokens", "5,6,7,300,9", "--start-timeout", 20)


def tokens_of(results):
    assert all(code == 0 for code, _, _ in results), results
    assert all(out == "" for _, out, _ in results[1:]), "only the head speaks"
    return json.loads(results[0][1])["tokens"]


def check_same_tokens(folder):
    alone = tokens_of(run_all([{}], *PROMPT))
    ways = {"supervisor 2": lambda: run_all([{}], *PROMPT, "--tp", 2),
            "supervisor 4": lambda: run_all([{}], *PROMPT, "--tp", 4),
            "multinode 2x1": lambda: run_all(multinode(2, 1), *PROMPT),
            "multinode 2x2": lambda: run_all(multinode(4, 2), *PROMPT),
            "multinode 4x1": lambda: run_all(multinode(4, 1), *PROMPT),
            "multinode by name": lambda: run_all(multinode(2, 1, host="localhost"), *PROMPT),
            "multinode, workers first": lambda: run_all(multinode(2, 1)[::-1], *PROMPT)[::-1],
            "ring 2": lambda: run_all(ring(folder, 2), *PROMPT),
            "ring 4": lambda: run_all(ring(folder, 4), *PROMPT)}
    if has_mpi():
        ways["mpirun 2"] = lambda: finish([start({}, *PROMPT, launcher=("mpirun", "-np", "2"))])
    for name, way in ways.items():
        assert tokens_of(way()) == alone, name
        print("same tokens:", name, flush=True)


def check_layout_lines(folder):
    for nodes, extra, line in (
            (multinode(4, 2), (), "mode=tensor-parallel transport=ring bootstrap=multinode ranks=4 nodes=2 tp=4"),
            (ring(folder, 2), (), "mode=tensor-parallel transport=ring bootstrap=ring ranks=2 nodes=1 tp=2"),
            ([{}], ("--tp", 2), "mode=tensor-parallel transport=ring bootstrap=local ranks=2 nodes=1 tp=2"),
            ([{}], (), "mode=single transport=none bootstrap=single ranks=1 nodes=1 tp=1")):
        code, _, err = run_all(nodes, *PROMPT, "--dry-run", *extra)[0]
        assert code == 0 and "layout: " + line in err and 'reason="' in err, err


def refused(nodes, code, *words, arguments=(), within=10):
    """Every node ends with `code`, and one of them says all the words."""
    began = time.monotonic()
    results = run_all(nodes, *PROMPT, *arguments)
    assert time.monotonic() - began < within, "took longer than %d s" % within
    assert all(result[0] == code for result in results), results
    assert any(all(word in err for word in words) for _, _, err in results), (words, results)
    assert not any("Traceback" in err or "internal error" in err for _, _, err in results), results


def check_contradictions(folder):
    head, worker = multinode(2, 1)
    refused([{**head, **worker}], 3, "MISTRALRS_MN_HEAD_PORT", "MISTRALRS_MN_WORKER_SERVER_ADDR")
    refused([{**head, **ring(folder, 2)[0]}], 3, "MISTRALRS_MN_GLOBAL_WORLD_SIZE", "RING_CONFIG")
    refused([{**head, "MISTRALRS_MN_GLOBAL_WORLD_SIZE": 3, "MISTRALRS_MN_LOCAL_WORLD_SIZE": 2}], 3, "3", "2", "multiple")
    refused([{**head, "MISTRALRS_MN_HEAD_NUM_WORKERS": 4}], 3, "MISTRALRS_MN_HEAD_NUM_WORKERS=4")
    refused([{**head, "MISTRALRS_MN_GLOBAL_WORLD_SIZE": "two"}], 3, "MISTRALRS_MN_GLOBAL_WORLD_SIZE=two")
    refused([{**worker, "MISTRALRS_MN_WORKER_SERVER_ADDR": "nowhere"}], 3, "nowhere", "HOST:PORT")
    bare = {"MISTRALRS_MN_GLOBAL_WORLD_SIZE": 2}
    refused([bare], 3, "MISTRALRS_MN_HEAD_PORT", "MISTRALRS_MN_WORKER_ID")
    refused(ring(folder, 2, rank0={"world_size": 3})[:1], 3, "world_size 3", "--ring-any-size")
    refused(ring(folder, 2, rank1={"master_ip": None})[1:], 3, "master_ip")
    refused(ring(folder, 2, rank0={"rank": 7})[:1], 3, "rank is 7")
    refused([{"RING_CONFIG": "/nowhere.json"}], 3, "/nowhere.json")
    if not has_mpi():
        return
    code, _, err = finish([start(ring(folder, 2)[0], *PROMPT, launcher=("mpirun", "-np", "1"))])[0]
    assert code != 0 and "RING_CONFIG" in err and "mpirun" in err, err


def check_trust(folder):
    head, worker = multinode(2, 1)
    results = run_all([head, {**worker, "DINFER_SECRET": "another secret, as long as that"}], *PROMPT, "--start-timeout", 3)
    assert results[1][0] == 3 and "secret" in results[1][2], results
    assert results[0][0] == 7 and "rank 1 (worker 0, local rank 0)" in results[0][2], results
    assert "secret" in results[0][2], results
    # Without a secret: this machine only.
    head, worker = multinode(2, 1, secret=None)
    refused([{**worker, "MISTRALRS_MN_WORKER_SERVER_ADDR": "10.1.2.3:9000"}], 3, "10.1.2.3", "--secret-file")
    assert len(tokens_of(run_all([head, worker], *PROMPT))) == 24
    path = pathlib.Path(folder, "secret")
    path.write_text(SECRET + "\n")
    path.chmod(0o644)
    refused([head], 3, "chmod 600", arguments=("--secret-file", path))
    path.chmod(0o600)
    assert len(tokens_of(run_all(multinode(2, 1, secret=None), *PROMPT, "--secret-file", path))) == 24


def check_missing_and_double_ranks(folder):
    nodes = multinode(4, 2)
    refused(nodes[:1], 7, "rank 2 (worker 0, local rank 0)", "rank 3 (worker 0, local rank 1)",
            arguments=("--start-timeout", 2))
    nodes = multinode(3, 1)
    results = run_all([nodes[0], nodes[1], {**nodes[2], "MISTRALRS_MN_WORKER_ID": 0}], *PROMPT)
    assert results[0][0] == 3 and "rank 1 (worker 0, local rank 0) came twice" in results[0][2], results
    assert all(code in (3, 7) for code, _, _ in results), results
    head, worker = multinode(2, 1)
    refused([head, {**worker, "MISTRALRS_MN_GLOBAL_WORLD_SIZE": 4}], 3, "4", "2", "same sizes")
    # A ring that does not close: rank 1 has rank 0 to its right.
    nodes = ring(folder, 4)
    config = json.loads(nodes[1]["RING_CONFIG"].read_text())
    config["right_port"] = json.loads(nodes[0]["RING_CONFIG"].read_text())["port"]
    nodes[1]["RING_CONFIG"].write_text(json.dumps(config))
    results = run_all(nodes, *PROMPT)
    assert all(code == 3 for code, _, _ in results), results
    assert any("the ring does not close" in err for _, _, err in results), results


def check_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        head = {**multinode(2, 1)[0], "MISTRALRS_MN_HEAD_PORT": taken.getsockname()[1]}
        refused([{**head, "DINFER_CONTROL_INTERFACE": "127.0.0.1"}], 9, str(taken.getsockname()[1]))


def check_strangers_at_the_port():
    """Ten thousand connections, silent or with garbage, do not keep the job from forming."""
    head, worker = multinode(2, 1)
    port = head["MISTRALRS_MN_HEAD_PORT"]
    patient = (*PROMPT, "--start-timeout", 120)  # the connections take their time, too
    job = start(head, *patient)
    strangers = []
    deadline = time.monotonic() + 20
    while not strangers:
        assert time.monotonic() < deadline, "the head does not listen"
        try:
            strangers.append(socket.create_connection(("127.0.0.1", port), timeout=1))
        except OSError:
            time.sleep(0.02)
    for i in range(10000):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            try:
                stranger.send(b"GET / HTTP/1.1\r\n\r\n" if i % 2 else bytes(range(256)))
            except OSError:
                pass
        if len(strangers) < 200:
            strangers.append(socket.create_connection(("127.0.0.1", port), timeout=5))
    other = start(worker, *patient)
    results = finish([job, other])
    for stranger in strangers:
        stranger.close()
    assert len(tokens_of(results)) == 24
    assert "turned away" in results[0][2], results[0][2]


with tempfile.TemporaryDirectory() as scratch:
    check_same_tokens(scratch)
    check_layout_lines(scratch)
    check_contradictions(scratch)
    check_trust(scratch)
    check_missing_and_double_ranks(scratch)
    check_port_in_use()
    check_strangers_at_the_port()
