#!/usr/bin/env python3
"""--kv-dtype f8 from outside: the same tokens on any number of ranks, near those of the exact cache, twice the room."""
import json
import pathlib
import re
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, must_run, run
from server import Server

LAYOUTS = {"llama-9h-tied": (1, 3), "qwen3-sharded": (1, 2), "mistral-swa": (1, 2)}
MEAN_KL_LIMIT = 0.2  # nats a token, against the f32 cache
PROMPT = list(range(3, 73))
GPU = ("--tp", 1, "--max-seq-len", 512, "--kv-memory-fraction", 0.05)


def exact(model, *arguments):
    return ("-m", MODELS / "hf" / model, "--cpu", "--cpu-math", "f32", "--threads", 1, *arguments)


def logits(engine):
    lines = "".join(json.dumps({"tokens": [(i * 37 + j * 11) % 500 for j in range(90)]}) + "\n" for i in range(6))
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        must_run(1, "score", *engine, "--logits", file.name, stdin=lines)
        with h5py.File(file.name) as h5:
            return np.concatenate([np.array(h5["%d/logits" % i], dtype=np.float64) for i in range(6)])


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def mean_kl(expected, got):
    p, q = log_softmax(expected), log_softmax(got)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def check_accuracy(model, gpus):
    reference = logits(exact(model))
    ways = {"CPU": exact(model)}
    if gpus:
        ways["GPU"] = ("-m", MODELS / "hf" / model, *GPU)
    for device, engine in ways.items():
        rounded = logits((*engine, "--kv-dtype", "f8"))
        kl = mean_kl(reference, rounded)
        print("%s on a %s: mean KL %.2e nats" % (model, device, kl))
        assert 0 < kl < MEAN_KL_LIMIT, "%s on a %s: mean KL %.2e" % (model, device, kl)
        assert not np.array_equal(logits(engine), rounded), "an f8 cache must differ"


def generate(ranks, model, *arguments):
    out = json.loads(must_run(ranks, "run", *exact(model, "--kv-dtype", "f8"), "--json", "--raw", "--ignore-eos",
                              "--max-tokens", 40, "--tokens", "5,6,7,300,9", *arguments))
    assert len(out["tokens"]) == 40
    return out["tokens"]


def check_ranks(model, counts):
    for sampling in (("--temperature", 0), ("--temperature", 1.2, "--seed", 7)):
        alone = generate(1, model, *sampling)
        for ranks in counts[1:]:
            split = generate(ranks, model, *sampling)
            assert split == alone, "%s on %d ranks, %s:\n%s\n%s" % (model, ranks, sampling, split, alone)


def check_prefix_cache():
    with Server(3, "-m", MODELS / "hf/llama-9h-tied", "--kv-dtype", "f8") as server:
        answers = [server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 12, "temperature": 0,
                                                   "ignore_eos": True}) for _ in range(2)]
        assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]
        assert answers[1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 64
        assert server.end() == 0


def kv_bytes(*arguments):
    plan = json.loads(must_run(1, "plan", "--shape", "llama-3.1-8b", "--devices", "1xH100", "--json", *arguments))
    return plan["chosen"]["ranks"][0]["kv_bytes"] / plan["chosen"]["kv_tokens"]


def check_refusal():
    process = run(1, "run", *exact("phi3", "--kv-dtype", "f16"), "-p", "x")
    assert process.returncode == 2 and re.search("--kv-dtype f16: must be auto or f8", process.stderr), process.stderr


GPUS = (json.loads(must_run(1, "--version", "--json"))["cuda"] or {}).get("gpus", [])
for name, rank_counts in LAYOUTS.items():
    check_accuracy(name, GPUS)
    check_ranks(name, rank_counts)
check_prefix_cache()
check_refusal()
assert kv_bytes() == 2 * kv_bytes("--kv-dtype", "f8")
