#!/usr/bin/env python3
"""Jobs of a real Slurm with two nodes. Skipped where it is not installed or cannot run (tests/support/slurm.py)."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, SKIPPED, SOURCE, needs_mpi
from slurm import Slurm, Unavailable
from tcp_jobs import environment

MODEL = ("-m", MODELS / "hf/qwen3-sharded")
EXACT = ("--cpu-math", "f32", "--threads", 1, "--start-timeout", 30)
ENGINE = (*MODEL, "--cpu", *EXACT)
ASK = ("--json", "--raw", "--ignore-eos", "--max-tokens", 24, "--temperature", 0, "--tokens", "5,6,7,300,9")
PROMPT = ("run", *ENGINE, *ASK)
PMIX = "--mpi=pmix"


def tokens_alone():
    alone = subprocess.run([BINARY, *map(str, PROMPT)], env=environment(), capture_output=True, text=True, check=True)
    return json.loads(alone.stdout)["tokens"]


def check_same_tokens(slurm, expected):
    for ranks in (2, 4):
        began = time.monotonic()
        job = slurm.srun("-n", ranks, PMIX, BINARY, *PROMPT)
        out, err = job.communicate(timeout=60)
        assert job.returncode == 0, err
        assert json.loads(out)["tokens"] == expected, ranks
        assert "bootstrap=mpi ranks=%d nodes=2 tp=%d" % (ranks, ranks) in err, err
        assert "started by srun" in err and "host=node1" in err, err
        print("%d ranks on two nodes: same tokens in %.1f s" % (ranks, time.monotonic() - began), flush=True)


def check_without_pmix(slurm):
    job = slurm.srun("-n", 2, "--mpi=none", BINARY, *PROMPT)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 3 and "srun --mpi=pmix" in err, (job.returncode, err)


def ranks_of(slurm):
    """Processes of dinfer under Slurm, by rank."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if os.readlink(entry / "exe") != os.path.realpath(BINARY):
                continue
            variables = dict(v.split(b"=", 1) for v in (entry / "environ").read_bytes().split(b"\0") if b"=" in v)
        except OSError:
            continue
        if variables.get(b"SLURM_CONF") == bytes(slurm.conf):
            found[int(variables[b"SLURM_PROCID"])] = int(entry.name)
    return found


def scoring(slurm):
    """A job that waits for its next line, and its ranks."""
    job = slurm.srun("-n", 2, PMIX, BINARY, "score", *ENGINE, stdin=subprocess.PIPE)
    job.stdin.write('{"tokens":[1,2,3]}\n')
    job.stdin.flush()
    assert job.stdout.readline(), job.communicate()[1]
    return job, ranks_of(slurm)


def check_killed_rank(slurm, victim):
    """KillOnBadExit is 0: the job has to end itself."""
    job, ranks = scoring(slurm)
    began = time.monotonic()
    os.kill(ranks[victim], signal.SIGKILL)
    err = job.communicate(timeout=30)[1]
    took = time.monotonic() - began
    assert job.returncode in (7, 137), (job.returncode, err)
    assert "rank %d (pid %d on host node%d)" % (victim, ranks[victim], victim) in err, err
    assert took < 10 and not ranks_of(slurm), took
    print("rank %d killed: the step ended after %.1f s with %d" % (victim, took, job.returncode), flush=True)


def check_stopped_rank(slurm):
    """On the other node, where the head does not see its process, within a step."""
    job, ranks = scoring(slurm)

    def feed():
        try:
            for _ in range(20000):
                job.stdin.write(json.dumps({"tokens": list(range(1, 200))}) + "\n")
        except (OSError, ValueError):
            pass

    threading.Thread(target=feed, daemon=True).start()
    threading.Thread(target=lambda: [None for _ in job.stdout], daemon=True).start()
    time.sleep(0.4)
    began = time.monotonic()
    os.kill(ranks[1], signal.SIGSTOP)
    log = ""
    while "no answer from rank 1 (pid %d on host node1)" % ranks[1] not in log:
        line = job.stderr.readline()
        assert line, log
        log += line
    took = time.monotonic() - began
    assert took < 5 and "during step" in log, (took, log)
    code = job.wait(30)
    assert code in (7, 137) and not ranks_of(slurm), code
    print("rank 1 stopped within a step: named after %.1f s; srun ended with %d" % (took, code), flush=True)


def check_scancel(slurm):
    """scancel asks by SIGTERM: the answer under way is finished."""
    job = slurm.srun("-n", 2, PMIX, BINARY, "serve", *ENGINE, "--port", 0)
    log = ""
    while not (ready := re.search(r"ready: http://127.0.0.1:(\d+)", log)):
        line = job.stderr.readline()
        assert line, log
        log += line
    body = {"prompt": "the", "max_tokens": 400, "temperature": 0, "ignore_eos": True, "stream": True}
    request = urllib.request.Request("http://127.0.0.1:%s/v1/completions" % ready[1], json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        first = answer.readline()
        number = slurm.output("squeue", "-h", "-o", "%i").split()[0]
        slurm.output("scancel", number)
        rest = answer.read().decode()
    assert first.startswith(b"data: ") and "data: [DONE]" in rest and '"finish_reason":"length"' in rest, rest[-500:]
    err = job.communicate(timeout=30)[1]
    assert not ranks_of(slurm), err
    print("scancel: the stream came to its end; srun ended with %d" % job.returncode, flush=True)


def wait_for(slurm, job, seconds):
    end = time.monotonic() + seconds
    while slurm.output("squeue", "-h", "-j", job):
        assert time.monotonic() < end, "the job does not end"
        time.sleep(0.2)


def check_batch_scripts(slurm):
    with tempfile.TemporaryDirectory(dir=slurm.folder) as folder:
        variables = {**slurm.environment, "PATH": "%s:%s" % (os.path.dirname(BINARY), slurm.environment["PATH"]),
                     "MODEL": str(MODELS / "hf/qwen3-sharded"), "PROMPT": "hello", "DINFER_MAX_TOKENS": "4",
                     "DINFER_CPU": "1", "DINFER_THREADS": "1"}

        def sbatch(name, *arguments):
            return subprocess.run(["sbatch", "--parsable", "--cpus-per-task=1", *arguments, SOURCE / "launch/slurm" / name],
                                  env=variables, cwd=folder, capture_output=True, text=True, timeout=100)

        done = sbatch("run.sbatch", "--wait")
        said = "".join(path.read_text() for path in pathlib.Path(folder).glob("*.out"))
        assert done.returncode == 0, (done, said)
        assert len(json.loads(pathlib.Path(folder, "run.json").read_text())["tokens"]) <= 4
        job = sbatch("serve.sbatch").stdout.strip()
        endpoint = pathlib.Path(folder, "endpoint-%s.json" % job)
        end = time.monotonic() + 30
        while not endpoint.exists():
            assert time.monotonic() < end, [path.read_text() for path in pathlib.Path(folder).glob("*.out")]
            time.sleep(0.1)
        # What Slurm sends the script before the time limit.
        slurm.output("scancel", "--signal=USR1", "--batch", job)
        wait_for(slurm, job, 30)
        said = pathlib.Path(folder, "slurm-%s.out" % job).read_text()
        assert "draining" in said and "error" not in said.lower() and not endpoint.exists(), said
        print("batch scripts: run answers, serve drains before its time limit", flush=True)


def check_planned_scripts(slurm, expected):
    """What plan --emit writes is submitted as it is."""
    for devices, layout, sizes in (("2x1xcpu", ("--tp", 2), "nodes=2 tp=2 pp=1"),
                                   ("2x1xcpu", ("--pp", 2), "nodes=2 tp=1 pp=2"),
                                   ("2xcpu", ("-n", "1:1;0:2"), "nodes=1 tp=1 pp=2")):
        with tempfile.TemporaryDirectory(dir=slurm.folder) as folder:
            written = subprocess.run([BINARY, "plan", *map(str, MODEL), "--devices", devices, *map(str, layout), "--emit",
                                      "slurm", "-o", folder], capture_output=True, text=True)
            assert written.returncode == 0, written.stderr
            job = subprocess.run(["sbatch", "--parsable", "-o", "answer.json", "-e", "log", "plan.sbatch", "run",
                                  *map(str, (*EXACT, *ASK))], env={**slurm.environment, "DINFER_BINARY": BINARY},
                                 cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            wait_for(slurm, job, 60)
            answer, log = (pathlib.Path(folder, name).read_text() for name in ("answer.json", "log"))
            assert sizes in log and json.loads(answer)["tokens"] == expected, (devices, layout, answer, log)
    print("plan --emit slurm: submitted, same tokens", flush=True)


if __name__ == "__main__":
    needs_mpi()
    try:
        with Slurm() as slurm:
            expected = tokens_alone()
            check_same_tokens(slurm, expected)
            check_without_pmix(slurm)
            check_killed_rank(slurm, 1)
            check_killed_rank(slurm, 0)
            check_stopped_rank(slurm)
            check_scancel(slurm)
            check_batch_scripts(slurm)
            check_planned_scripts(slurm, expected)
    except Unavailable as reason:
        print("no Slurm here:", reason)
        sys.exit(SKIPPED)
