#!/usr/bin/env python3
"""`dinfer bench` measures sequences of one length, however many steps it takes to bring them there."""
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS, must_run

# Prompts come in by 16 tokens a step: the first is there 60 steps before the last, and has room for 6 tokens more.
LONG = ("bench", "-m", MODELS / "hf/qwen3-sharded", "--cpu", "--threads", 1, "--batch", "2,8", "--context", 120,
        "--max-batch-tokens", 16, "--bench-tokens", 4, "--prefill", 20, "--repeat", 2, "--json")


def check_rows(ranks, *arguments):
    rows = json.loads(must_run(ranks, *LONG, *arguments))["rows"]
    decode = [row for row in rows if row["test"] == "decode"]
    assert [(row["batch"], row["context"]) for row in decode] == [(2, 120), (8, 120)], rows
    assert all(0 < row["tok_s_min"] <= row["tok_s_median"] <= row["tok_s_max"] for row in rows), rows


def check_too_few_blocks():
    """Where the prompts cannot be held together, nothing is waited for."""
    done = subprocess.run([BINARY, *map(str, LONG), "--kv-blocks", "32", "--batch", "8"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "give a larger --kv-blocks" in done.stderr, (done.returncode, done.stderr)


def check_too_long_rows():
    """The message tells where a length comes from that nobody asked for by --max-seq-len."""
    done = subprocess.run([BINARY, *map(str, LONG), "--prefill", "600"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "largest row of bench" in done.stderr, (done.returncode, done.stderr)


def check_weights_without_a_tokenizer():
    model = MODELS / "hf/llama-4h"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("config.json", "model.safetensors"):
            (pathlib.Path(folder) / name).symlink_to(model / name)
        rows = json.loads(must_run(1, *LONG, "-m", folder, "--batch", 1))["rows"]
        assert [row["test"] for row in rows] == ["prefill", "decode"], rows


check_weights_without_a_tokenizer()
check_rows(1)
check_rows(2)
check_rows(1, "--pp", 2)
check_rows(1, "--dp", 2)
check_too_few_blocks()
check_too_long_rows()
