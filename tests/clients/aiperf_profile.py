#!/usr/bin/env python3
"""NVIDIA's aiperf, as it comes from PyPI, against three ranks: it ends by itself, and what it counted is what the server did.
Skipped where there is none.

  DINFER_AIPERF   the program (default: aiperf in PATH)
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, SKIPPED
from server import Server

MODEL = MODELS / "hf/llama-9h-tied"
AIPERF = os.environ.get("DINFER_AIPERF") or shutil.which("aiperf")
REQUESTS, TOKENS = 24, 16
TOKENIZER, REVISION = "tests/model", "0" * 40

if not AIPERF or not os.access(AIPERF, os.X_OK):
    print("there is no aiperf: skipped")
    sys.exit(SKIPPED)


def counters(server):
    """Series without labels but the model's, by name."""
    _, _, page = server.request("GET", "/metrics")
    return {line.split("{")[0]: float(line.split()[-1]) for line in page.splitlines()
            if line.startswith("dinfer_") and line.count('="') == 1}


def fill_hub_cache(folder):
    """Without a network aiperf takes tokenizers from the hub's cache alone."""
    repository = pathlib.Path(folder, "models--" + TOKENIZER.replace("/", "--"))
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for file in MODEL.glob("*.json"):
        (snapshot / file.name).symlink_to(file)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(REVISION)


def profile(server, folder, endpoint):
    """aiperf's report of streamed requests to an endpoint."""
    command = [AIPERF, "profile", "-m", MODEL.name, "--url", "http://127.0.0.1:%d" % server.port, "--endpoint-type", endpoint,
               "--streaming", "--concurrency", 4, "--request-count", REQUESTS, "--synthetic-input-tokens-mean", 32,
               "--synthetic-input-tokens-stddev", 0, "--output-tokens-mean", TOKENS, "--output-tokens-stddev", 0, "--extra-inputs",
               "ignore_eos:true", "--tokenizer", TOKENIZER, "--ui-type", "none", "--artifact-dir", folder, "--random-seed", 1]
    cache = pathlib.Path(folder, "hub")
    fill_hub_cache(cache)
    process = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=200,
                             env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache)})
    assert process.returncode == 0, (process.stdout + process.stderr)[-4000:]
    reports = list(pathlib.Path(folder).rglob("profile_export_aiperf.json"))
    assert len(reports) == 1, (list(pathlib.Path(folder).rglob("*")), process.stdout[-2000:])
    return json.loads(reports[0].read_text())


def check(server, endpoint):
    before = counters(server)
    with tempfile.TemporaryDirectory() as folder:
        report = profile(server, folder, endpoint)
    after = counters(server)
    done = {name: after[name] - before.get(name, 0) for name in after}
    assert report["request_count"]["avg"] == REQUESTS, report["request_count"]
    # aiperf may ask a little on its own before it measures.
    assert REQUESTS <= done["dinfer_time_to_first_token_seconds_count"] <= REQUESTS + 2, done
    asked = done["dinfer_time_to_first_token_seconds_count"]
    assert done["dinfer_generation_tokens_total"] == asked * TOKENS, done
    first, total = report["time_to_first_token"], report["request_latency"]
    assert 0 < first["avg"] < total["avg"] and report["output_token_throughput"]["avg"] > 0, report
    print(endpoint, "first token %.1f ms, request %.1f ms, %.0f tokens/s" % (
        first["avg"], total["avg"], report["output_token_throughput"]["avg"]))


with Server(3, "-m", MODEL, "--max-seq-len", 512) as s:
    for kind in ("chat", "completions"):
        check(s, kind)
    s.wait_idle()
    assert s.end() == 0
