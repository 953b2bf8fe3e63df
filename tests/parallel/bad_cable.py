#!/usr/bin/env python3
"""Jobs over a cable that is slow, lossy, cut for a moment, cut for good, or cut in one direction: right tokens or a
named end, never a hang. Skipped where the system refuses network namespaces."""
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from cable import Cable, Unavailable
from dinfer import BINARY, MODELS, SKIPPED
from tcp_jobs import SECRET, environment

ROUNDS = int(os.environ.get("DINFER_FAULT_ROUNDS", "1"))
ENGINE = ("-m", MODELS / "hf/qwen3-sharded", "--cpu", "--cpu-math", "f32", "--threads", 1, "--start-timeout", 30)
PROMPT = ("run", *ENGINE, "--json", "--raw", "--ignore-eos", "--max-tokens", 6, "--temperature", 0, "--tokens", "5,6,7")
COMMON = {"MISTRALRS_MN_GLOBAL_WORLD_SIZE": 2, "MISTRALRS_MN_LOCAL_WORLD_SIZE": 1, "DINFER_SECRET": SECRET}
NODES = [{**COMMON, "MISTRALRS_MN_HEAD_NUM_WORKERS": 1, "MISTRALRS_MN_HEAD_PORT": 9000},
         {**COMMON, "MISTRALRS_MN_WORKER_SERVER_ADDR": "10.99.8.1:9000", "MISTRALRS_MN_WORKER_ID": 0}]


def start(cable, side, *arguments):
    return subprocess.Popen(cable.command(side, BINARY, *arguments), env=environment(**NODES[side]), text=True,
                            stdin=subprocess.PIPE if side == 0 else subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def check_slow(cable, name, delay, loss, expected):
    cable.delay, cable.loss = [delay] * 2, [loss] * 2
    began = time.monotonic()
    jobs = [start(cable, side, *PROMPT) for side in range(2)]
    results = [job.communicate(timeout=100) for job in jobs]
    cable.delay, cable.loss = [0.0] * 2, [0.0] * 2
    assert [job.returncode for job in jobs] == [0, 0], (name, results)
    assert json.loads(results[0][0])["tokens"] == expected, name
    print("%s: right tokens after %.1f s" % (name, time.monotonic() - began), flush=True)


def waiting(cable):
    """Both sides of a job that waits for its next request."""
    jobs = [start(cable, side, "score", *ENGINE) for side in range(2)]
    ask(jobs)
    return jobs


def ask(jobs):
    jobs[0].stdin.write('{"tokens":[1,2,3]}\n')
    jobs[0].stdin.flush()
    assert jobs[0].stdout.readline(), jobs[0].communicate()


def check_short_cut(cable):
    jobs = waiting(cable)
    cable.loss = [1.0, 1.0]
    time.sleep(1.5)
    cable.loss = [0.0, 0.0]
    ask(jobs)
    jobs[0].stdin.close()
    assert [job.wait(20) for job in jobs] == [0, 0], [job.stderr.read() for job in jobs]


def check_cut(cable, name, loss):
    """`loss` by direction. Both sides end within the stall timeout and the time to say so."""
    jobs = waiting(cable)
    cable.loss = loss
    began = time.monotonic()
    codes = [job.wait(20) for job in jobs]
    took = time.monotonic() - began
    cable.loss = [0.0, 0.0]
    errors = [job.stderr.read() for job in jobs]
    assert codes == [7, 7], (name, codes, errors)
    assert "rank 1" in errors[0], errors[0]
    assert "rank 0" in errors[1] or "rank 1" in errors[1], errors[1]
    assert took < 7, (name, took)
    print("%s: both sides ended after %.1f s" % (name, took), flush=True)


def main():
    alone = subprocess.run([BINARY, *map(str, PROMPT)], env=environment(), capture_output=True, text=True, check=True)
    expected = json.loads(alone.stdout)["tokens"]
    with Cable() as cable:
        for _ in range(ROUNDS):
            check_slow(cable, "20 ms each way", 0.02, 0.0, expected)
            check_slow(cable, "5% lost", 0.0, 0.05, expected)
            check_short_cut(cable)
            check_cut(cable, "cut", [1.0, 1.0])
            check_cut(cable, "deaf head", [0.0, 1.0])
            check_cut(cable, "deaf worker", [1.0, 0.0])


if __name__ == "__main__":
    try:
        main()
    except Unavailable as reason:
        print("no namespaces or TAP devices here:", reason)
        sys.exit(SKIPPED)
