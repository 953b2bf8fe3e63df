#!/usr/bin/env python3
"""Two "hosts": network namespaces joined by a cable. Where the system refuses namespaces: skipped."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, SKIPPED
from tcp_jobs import SECRET, environment

MODEL = MODELS / "hf/qwen3-sharded"
ENGINE = ("-m", MODEL, "--cpu", "--cpu-math", "f32", "--threads", 1, "--start-timeout", 20)
PROMPT = ("run", *ENGINE, "--json", "--raw", "--ignore-eos", "--max-tokens", 24, "--temperature", 0, "--tokens",
          "5,6,7,300,9")
NAMES = ["dinfer-%d-%s" % (os.getpid(), side) for side in "ab"]


def ip(*arguments, check=True):
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


class TwoHosts:
    def __enter__(self):
        try:
            for name in NAMES:
                ip("netns", "add", name)
            ip("link", "add", "left", "netns", NAMES[0], "type", "veth", "peer", "name", "right", "netns", NAMES[1])
            for i, (name, link) in enumerate(zip(NAMES, ("left", "right")), 1):
                ip("-n", name, "addr", "add", "10.99.7.%d/24" % i, "dev", link)
                ip("-n", name, "addr", "add", "fd99::%d/64" % i, "dev", link, "nodad")
                ip("-n", name, "link", "set", link, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.__exit__()
            print("no network namespaces here:", getattr(error, "stderr", error))
            sys.exit(SKIPPED)
        return self

    def __exit__(self, *_):
        for name in NAMES:
            ip("netns", "del", name, check=False)

    def start(self, side, variables, *arguments, **streams):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen(["ip", "netns", "exec", NAMES[side], BINARY, *map(str, arguments)], text=True,
                                env=environment(**variables), **pipes)


def nodes(world, local, address):
    common = {"MISTRALRS_MN_GLOBAL_WORLD_SIZE": world, "MISTRALRS_MN_LOCAL_WORLD_SIZE": local, "DINFER_SECRET": SECRET}
    return [{**common, "MISTRALRS_MN_HEAD_NUM_WORKERS": 1, "MISTRALRS_MN_HEAD_PORT": 9000},
            {**common, "MISTRALRS_MN_WORKER_SERVER_ADDR": address, "MISTRALRS_MN_WORKER_ID": 0}]


def check_same_tokens(hosts):
    alone = json.loads(subprocess.run([BINARY, *map(str, PROMPT)], env=environment(), capture_output=True, text=True,
                                      check=True).stdout)["tokens"]
    for world, local, address in ((2, 1, "10.99.7.1:9000"), (4, 2, "10.99.7.1:9000"), (2, 1, "[fd99::1]:9000")):
        jobs = [hosts.start(side, variables, *PROMPT) for side, variables in enumerate(nodes(world, local, address))]
        results = [job.communicate(timeout=60) for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0], results
        assert json.loads(results[0][0])["tokens"] == alone, (world, local, address)
        assert "nodes=2" in results[0][1], results[0][1]


def check_ring(hosts, folder):
    alone = None
    for count in (1, 2):
        jobs = []
        for rank in range(count):
            path = pathlib.Path(folder, "ring%d.json" % rank)
            path.write_text(json.dumps({"rank": rank, "world_size": 2, "port": 9001, "right_port": 9001,
                                        "right_ip": "10.99.7.%d" % (2 - rank), "master_ip": "10.99.7.1",
                                        "master_port": 9000}))
            variables = {"RING_CONFIG": path, "MISTRALRS_NO_NCCL": 1, "DINFER_SECRET": SECRET} if count > 1 else {}
            jobs.append(hosts.start(rank, variables, *PROMPT))
        results = [job.communicate(timeout=60) for job in jobs]
        assert all(job.returncode == 0 for job in jobs), results
        tokens = json.loads(results[0][0])["tokens"]
        alone = alone or tokens
        assert tokens == alone


def check_partition(hosts):
    """A cable that is pulled ends the job on both sides within the stall timeout, and some."""
    jobs = [hosts.start(side, variables, "score", *ENGINE, **({"stdin": subprocess.PIPE} if side == 0 else {}))
            for side, variables in enumerate(nodes(2, 1, "10.99.7.1:9000"))]
    jobs[0].stdin.write('{"tokens":[1,2,3]}\n')
    jobs[0].stdin.flush()
    assert jobs[0].stdout.readline(), jobs[0].communicate()
    ip("-n", NAMES[1], "link", "set", "right", "down")
    began = time.monotonic()
    assert jobs[1].wait(20) == 7
    assert jobs[0].wait(20) == 7
    took = time.monotonic() - began
    assert took < 7, took
    assert "no answer from rank 1" in jobs[0].stderr.read()
    assert "no answer from rank 0" in jobs[1].stderr.read()
    print("pulled cable: both sides ended after %.1f s" % took)
    ip("-n", NAMES[1], "link", "set", "right", "up")


if __name__ == "__main__":
    with TwoHosts() as two_hosts, tempfile.TemporaryDirectory() as scratch:
        check_same_tokens(two_hosts)
        check_ring(two_hosts, scratch)
        check_partition(two_hosts)
