#!/usr/bin/env python3
"""Holds dinfer against the recorded outputs of SmolLM2-135M-Instruct (Q4_1 GGUF).

  DINFER_DEMO_MODEL=MODEL.gguf real_model.py

Greedy tokens on 1, 3 and 9 ranks, by default and exact, the same bytes from run to run, log-probabilities, the refusal of
2 ranks, and the distance of the fast path (--cpu-math auto) from the exact one.
"""
import json
import os
import pathlib
import re
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, json_lines, must_run, run

GAP = 0.05             # reference steps with a smaller gap end the comparison of greedy tokens
MEAN_KL_LIMIT = 1e-5   # nats


def settled(gaps):
    return next((i for i, gap in enumerate(gaps) if gap < GAP), len(gaps))


def generate(ranks, model, prompt, math):
    return json.loads(must_run(
        ranks, "run", "-m", model, "--cpu", "--cpu-math", math, "--json", "--raw", "--temperature", 0, "--ignore-eos",
        "--max-tokens", len(prompt["greedy"]["ids"]), "--tokens", ",".join(map(str, prompt["ids"])), timeout=300))


def check_greedy(model, prompts):
    compared = 0
    for math, ranks, chosen in (("auto", 1, prompts), ("auto", 3, prompts), ("auto", 9, prompts[4:6]),
                                ("f32", 1, prompts), ("f32", 3, prompts[:2])):
        for prompt in chosen:
            out = generate(ranks, model, prompt, math)
            greedy = prompt["greedy"]
            sure = settled(greedy["gaps"])
            assert out["tokens"][:sure] == greedy["ids"][:sure], "np=%d, --cpu-math %s, %s: %s, not %s" % (
                ranks, math, prompt["name"], out["tokens"][:sure], greedy["ids"][:sure])
            compared += sure
        print("np=%d, --cpu-math %s: greedy tokens agree" % (ranks, math))
    assert compared > 1000


def check_repeatable(model, prompt):
    for ranks in (1, 3, 9):
        outputs = []
        for _ in range(2):
            out = generate(ranks, model, prompt, "auto")
            out.pop("timings")
            outputs.append(json.dumps(out))
        assert outputs[0] == outputs[1], "np=%d gave two different outputs" % ranks


def check_refusal(model):
    refused = run(2, "run", "-m", model, "--cpu", "-p", "x", timeout=60)
    assert refused.returncode == 3, "np=2: exit code %d\n%s" % (refused.returncode, refused.stderr)
    assert re.search(r"\b1, 3, 9\b", refused.stderr), refused.stderr


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def check_accuracy(model, prompts):
    """Mean KL divergence of the fast path from the exact one over prompts and their continuations."""
    lines = [p["ids"] + p["greedy"]["ids"] for p in prompts]
    stdin = "".join(json.dumps({"tokens": t}) + "\n" for t in lines)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for math in ("f32", "auto"):
            files[math] = pathlib.Path(folder) / (math + ".h5")
            rows = json_lines(must_run(1, "score", "-m", model, "--cpu", "--cpu-math", math, "--logits", files[math],
                                       stdin=stdin, timeout=600))
            if math == "f32":
                for row, prompt in zip(rows, prompts):
                    for got, expected in zip(row["logprobs"], prompt["logprobs"]):
                        assert expected is None or abs(got - expected) <= 2e-3 * max(1.0, abs(expected)), \
                            "%s: log-probability %s, not %s" % (prompt["name"], got, expected)
        divergences = []
        with h5py.File(files["f32"]) as exact, h5py.File(files["auto"]) as fast:
            for i in range(len(lines)):
                p = log_softmax(np.array(exact["%d/logits" % i]))
                q = log_softmax(np.array(fast["%d/logits" % i]))
                divergences.append((np.exp(p) * (p - q)).sum(axis=1))
    mean = float(np.concatenate(divergences).mean())
    print("mean KL divergence of --cpu-math auto from f32: %.6f nats" % mean)
    assert 0 <= mean <= MEAN_KL_LIMIT


def main():
    model = os.environ.get("DINFER_DEMO_MODEL")
    if not model:
        print("DINFER_DEMO_MODEL does not name the demo model: skipped")
        sys.exit(77)
    prompts = json.loads((MODELS / "real/golden.json").read_text())["prompts"]
    check_greedy(model, prompts)
    check_repeatable(model, prompts[4])
    check_refusal(model)
    check_accuracy(model, prompts)


if __name__ == "__main__":
    main()
