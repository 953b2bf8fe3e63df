#!/usr/bin/env python3
"""Holds dinfer against the reference logits and texts of one small model, on 1 to 4 ranks.

  golden.py MODEL_DIR [FORM.gguf]     a folder of tests/golden/models with its golden.json

For every rank count that fits the heads: logits within 1e-3 of the reference logits' norm, the
log-probabilities of all prompts, and greedy tokens equal as far as the reference's own gaps between
first and second exceed the tolerance. For the others: exit code 3 and the list of counts that fit.

With GOLDEN_GPUS=n, GPU ranks in place of CPU ranks, on 1 to n of them, and the tolerance of
bf16 arithmetic; then the logits of layers over the GPUs and the CPU. There, rounding may turn a
row's choice of experts, as it does in the reference's own bf16 pass (max_abs_diff_bf16): of a
mixture, the share TURNED of the rows may be off by more, and greedy texts are not held to the
reference's. So may a few rows of a mixture of quantised weights on CPU ranks, which hold some forms
rounded to f16.
"""
import json
import math
import os
import pathlib
import re
import struct
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import json_lines, must_run, run

GPUS = int(os.environ.get("GOLDEN_GPUS", "0"))
RANKS = GPUS or 4
GAP = 0.25 if GPUS else 0.02  # greedy steps with a smaller gap between first and second are not compared
LOGPROB = 0.1 if GPUS else 5e-3
TURNED = 0.15 if GPUS else 0  # of a mixture's rows
TURNED_BY_F16 = 0.02


def device(ranks):
    return ["--tp", ranks] if GPUS else ["--cpu", "--cpu-math", "f32", "--threads", 1]


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", name
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(data[8 + size + begin:8 + size + end], "<f4").reshape(entry["shape"])
    return tensors


def fitting(heads, kv_heads, most):
    return [n for n in range(1, most + 1)
            if heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)]


def config_of(directory, golden):
    return golden.get("config") or json.loads((directory / "config.json").read_text())


def head_counts(config):
    heads = config["num_attention_heads"]
    return heads, config.get("num_key_value_heads") or heads


def layer_ways(layers, fits, folder):
    """Options that give GPUs and the CPU layers of their own. On CPU ranks, tests/parallel/layers.py does so."""
    topology = pathlib.Path(folder, "topology.yaml")
    topology.write_text("'/layers\\.0\\.(mlp|block_sparse_moe)/': {device: cpu}\n'/lm_head|model\\.norm/': {device: cpu}\n")
    yield "--topology", topology
    if layers == 1:
        return
    yield "-n", "0:%d;cpu:1" % (layers - 1)
    yield "-n", "cpu:1;0:%d" % (layers - 1)
    if GPUS < 2:
        return
    split = "0:1;1:%d" % (layers - 1)
    yield "-n", split
    yield "-n", split, "--no-p2p"
    yield "--tp", 1, "--pp", 2
    if GPUS >= 4 and 2 in fits:
        yield "--tp", 2, "--pp", 2


def settled(gaps):
    """How many greedy steps come before the first that rounding may turn."""
    return next((i for i, gap in enumerate(gaps) if gap < GAP), len(gaps))


def may_turn(config):
    """The share of rows in which rounding may turn the choice of experts."""
    if not (config.get("num_local_experts") or config.get("num_experts")):
        return 0
    return TURNED or (TURNED_BY_F16 if "quantization_config" in config else 0)


def tolerance(golden, turned):
    """Of the norm of the reference logits. bf16 moves some models' logits more than others': by a few
    hundredths of what the reference's own pass in bf16 differs by at most. (That of a mixture counts turned
    choices, too.)"""
    if not GPUS:
        return 1e-3
    bf16 = 0 if turned else golden.get("max_abs_diff_bf16", 0) / golden.get("logits_std", 1)
    return max(2e-2, 0.07 * bf16)


def error_of(got, expected, turned):
    """How far rows are off, of their norm, but for the share `turned` of those that are off the most."""
    off = np.sort(np.linalg.norm(got - expected, axis=1))
    kept = off[:len(off) - math.ceil(turned * len(off))]
    return np.linalg.norm(kept) / np.linalg.norm(expected)


def check_scores(ranks, model, options, prompts, tensors, limit, turned):
    """One `score` run: prompts for their logits, prompts + greedy tokens for the greedy choices."""
    lines = [p["ids"] for p in prompts] + [p["ids"] + p["greedy"]["ids"] for p in prompts]
    checked, worst = 0, 0.0
    with tempfile.NamedTemporaryFile(suffix=".h5") as logits_file:
        out = must_run(ranks, "score", "-m", model, *options,
                       "--logits", logits_file.name,
                       stdin="".join(json.dumps({"tokens": t}) + "\n" for t in lines))
        rows = json_lines(out)
        assert len(rows) == len(lines), "%d lines in, %d out" % (len(lines), len(rows))
        with h5py.File(logits_file.name) as h5:
            for i, prompt in enumerate(prompts):
                got = np.array(h5["%d/logits" % i])
                assert list(h5["%d/tokens" % i]) == prompt["ids"]
                if prompt.get("logits"):
                    expected = tensors[prompt["logits"]]
                    assert got.shape == expected.shape, "%s: shape %s, not %s" % (prompt["name"], got.shape, expected.shape)
                    error = error_of(got, expected, turned)
                    assert error <= limit, "%s: logits off by %.2e of their norm" % (prompt["name"], error)
                    worst = max(worst, error)
                    checked += 1
                unlike = []
                for got_lp, expected_lp in zip(rows[i]["logprobs"], prompt["logprobs"]):
                    assert (got_lp is None) == (expected_lp is None)
                    if expected_lp is not None and abs(got_lp - expected_lp) > LOGPROB * max(1.0, abs(expected_lp)):
                        unlike.append("log-probability %f, not %f" % (got_lp, expected_lp))
                assert len(unlike) <= math.ceil(turned * len(prompt["ids"])), "%s: %s" % (prompt["name"], unlike[:3])
                greedy, length = prompt["greedy"], len(prompt["ids"])
                chosen = np.array(h5["%d/logits" % (i + len(prompts))])[length - 1:-1].argmax(axis=1)
                unlike = []
                for step, (a, b, gap) in enumerate(zip(chosen, greedy["ids"], greedy["gaps"])):
                    if a != b and gap >= GAP:
                        unlike.append("greedy step %d gives %d, not %d (gap %.3f)" % (step, a, b, gap))
                    checked += 1
                assert len(unlike) <= math.ceil(turned * len(chosen)), "%s: %s" % (prompt["name"], unlike[:3])
    assert checked > 48, "hardly anything was compared"
    return worst


def check_generation(ranks, model, prompt, turned):
    greedy = prompt["greedy"]
    out = json.loads(must_run(
        ranks, "run", "-m", model, *device(ranks), "--json", "--raw", "--temperature", 0,
        "--ignore-eos", "--max-tokens", len(greedy["ids"]), "--tokens", ",".join(map(str, prompt["ids"]))))
    assert out["prompt_tokens"] == prompt["ids"]
    assert len(out["tokens"]) == len(greedy["ids"]) and out["finish_reason"] == "length"
    sure = 0 if turned else settled(greedy["gaps"])
    assert out["tokens"][:sure] == greedy["ids"][:sure], "%s: %s, not %s" % (
        prompt["name"], out["tokens"][:sure], greedy["ids"][:sure])


def main():
    directory = pathlib.Path(sys.argv[1])
    golden = json.loads((directory / "golden.json").read_text())
    tensors = read_safetensors(directory / "golden.safetensors")
    model, prompts = directory, golden.get("prompts")
    if len(sys.argv) > 2:
        form = next(f for f in golden["forms"] if f["file"] == sys.argv[2])
        model, prompts = directory / form["file"], form["prompts"]
    config = config_of(directory, golden)
    heads, kv_heads = head_counts(config)
    fits, turned = fitting(heads, kv_heads, RANKS), may_turn(config)
    limit = tolerance(golden, turned)
    for ranks in range(1, RANKS + 1):
        if ranks in fits:
            error = check_scores(ranks, model, device(ranks), prompts, tensors, limit, turned)
            check_generation(ranks, model, prompts[1], turned)
            print("%s: np=%d agrees, logits off by at most %.1e" % (model.name, ranks, error))
            continue
        refused = run(ranks, "run", "-m", model, *device(ranks), "-p", "x", timeout=30)
        assert refused.returncode == 3, "np=%d: exit code %d, not 3\n%s" % (ranks, refused.returncode, refused.stderr)
        sizes = ", ".join(map(str, fits))
        assert re.search(r"\b%s\b" % sizes, refused.stderr), "np=%d: no list of sizes (%s) in\n%s" % (ranks, sizes, refused.stderr)
        print("%s: np=%d refused" % (model.name, ranks))
    if GPUS == 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        for options in layer_ways(config["num_hidden_layers"], fits, folder):
            error = check_scores(1, model, options, prompts, tensors, limit, turned)
            print("%s: %s agrees, logits off by at most %.1e" % (model.name, " ".join(map(str, options)), error))


if __name__ == "__main__":
    main()
