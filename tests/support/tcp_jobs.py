"""The variables and files of jobs without MPI, all of their nodes on this machine."""
import json
import os
import pathlib
import socket
import subprocess

from dinfer import BINARY, MPI_ENVIRONMENT

SECRET = "a secret of the tests, long enough"


_reserved = []


def free_ports(count):
    """Ports that a job may listen at, and nobody else gets while this process lives: they stay bound here. As neither
    side listens yet, SO_REUSEADDR lets both have them."""
    for _ in range(count):
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        _reserved.append(reserved)
    return [reserved.getsockname()[1] for reserved in _reserved[-count:]]


def environment(**variables):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MISTRALRS_", "RING_CONFIG"))}
    return {**clean, **MPI_ENVIRONMENT, **{k: str(v) for k, v in variables.items()}}


def multinode(world, local, secret=SECRET, host="127.0.0.1", **changes):
    """Variables of each node, the head first."""
    port = free_ports(1)[0]
    common = {"MISTRALRS_MN_GLOBAL_WORLD_SIZE": world, "MISTRALRS_MN_LOCAL_WORLD_SIZE": local}
    if secret:
        common["DINFER_SECRET"] = secret
    nodes = [{**common, "MISTRALRS_MN_HEAD_NUM_WORKERS": world // local - 1, "MISTRALRS_MN_HEAD_PORT": port}]
    for worker in range(world // local - 1):
        nodes.append({**common, "MISTRALRS_MN_WORKER_SERVER_ADDR": "%s:%d" % (host, port),
                      "MISTRALRS_MN_WORKER_ID": worker, **changes})
    return nodes


def gpu_nodes(world, local):
    """The same, of `local` GPUs each; NCCL takes them for different hosts."""
    return [{**node, "CUDA_VISIBLE_DEVICES": ",".join(str(i * local + gpu) for gpu in range(local)),
             "NCCL_HOSTID": "host%d" % i, "NCCL_SOCKET_IFNAME": "lo"} for i, node in enumerate(multinode(world, local))]


def ring(folder, size, **changes):
    ports = free_ports(size + 1)
    nodes = []
    for rank in range(size):
        config = {"master_ip": "127.0.0.1", "master_port": ports[size], "port": ports[rank], "rank": rank,
                  "right_ip": "127.0.0.1", "right_port": ports[(rank + 1) % size], "world_size": size}
        config.update(changes.get("rank%d" % rank, {}))
        path = pathlib.Path(folder, "ring%d.json" % rank)
        path.write_text(json.dumps(config))
        nodes.append({"RING_CONFIG": path, "MISTRALRS_NO_NCCL": 1, "DINFER_SECRET": SECRET})
    return nodes


def start(variables, *arguments, launcher=()):
    return subprocess.Popen([*launcher, BINARY, *map(str, arguments)], env=environment(**variables), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(jobs, timeout=60):
    """(exit code, stdout, stderr) of each; none is left running."""
    results = []
    try:
        for job in jobs:
            out, err = job.communicate(timeout=timeout)
            results.append((job.returncode, out, err))
    finally:
        for job in jobs:
            if job.poll() is None:
                job.kill()
                job.wait()
    return results


def run_all(nodes, *arguments):
    return finish([start(variables, *arguments) for variables in nodes])


def expect(expected, what, results, words):
    """Jobs of `dinfer run --json` ended well, the head with these tokens and these words in its line of the layout."""
    assert all(code == 0 for code, _, _ in results), (what, results)
    assert json.loads(results[0][1])["tokens"] == expected, (what, results)
    line = next(line for line in results[0][2].splitlines() if "layout: " in line)
    assert all(word in line for word in words), (what, words, line)
    print("same tokens:", what, flush=True)
