#!/usr/bin/env python3
"""A request's tokens depend neither on the number of ranks nor on what else is in its batch."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, json_lines, must_run

# Rank counts that fit each model's heads; sampling that takes each way through the sampler.
LAYOUTS = {"llama-9h-tied": (1, 3), "qwen3-sharded": (1, 2, 4), "phi3": (1, 2)}
SAMPLINGS = (("--temperature", 0),
             ("--temperature", 1.2, "--seed", 7),
             ("--temperature", 0.9, "--top-p", 0.9, "--seed", 2**63),
             ("--top-k", 20, "--min-p", 0.05, "--seed", 3, "--repetition-penalty", 1.2),
             ("--seed", 4, "--presence-penalty", 0.7, "--frequency-penalty", 0.3))


def exact(model, *arguments):
    return ("-m", MODELS / "hf" / model, "--cpu", "--cpu-math", "f32", "--threads", 1, *arguments)


def generate(ranks, model, sampling):
    out = json.loads(must_run(ranks, "run", *exact(model), "--json", "--raw", "--ignore-eos", "--max-tokens", 40,
                              "--tokens", "5,6,7,300,9", *sampling))
    assert len(out["tokens"]) == 40 and out["finish_reason"] == "length"
    return out["tokens"]


def check_ranks():
    texts = set()
    for model, counts in LAYOUTS.items():
        for sampling in SAMPLINGS:
            alone = generate(1, model, sampling)
            texts.add(tuple(alone))
            for ranks in counts[1:]:
                split = generate(ranks, model, sampling)
                assert split == alone, "%s on %d ranks, %s:\n%s\n%s" % (model, ranks, sampling, split, alone)
    assert len(texts) == len(LAYOUTS) * len(SAMPLINGS), "different sampling must give different tokens"


def check_batch():
    lines = "".join(json.dumps({"tokens": [(i * 37 + j * 11) % 500 for j in range(1 + 13 * i)]}) + "\n" for i in range(12))
    model = exact("qwen3-sharded", "--top", 3)
    alone = json_lines(must_run(1, "score", *model, "--max-seqs", 1, stdin=lines))
    for ranks, batch in ((1, ("--max-seqs", 12)), (2, ("--max-seqs", 5, "--max-batch-tokens", 17))):
        got = json_lines(must_run(ranks, "score", *model, *batch, stdin=lines))
        assert [g["tokens"] for g in got] == [a["tokens"] for a in alone], "lines come back in order"
        for g, a in zip(got, alone):
            assert g["logprobs"][0] is None and len(g["logprobs"]) == len(g["tokens"]) == len(g["top"])
            assert abs(g["sum"] - a["sum"]) <= 1e-4 * (1 + abs(a["sum"])), "%s, not %s" % (g["sum"], a["sum"])


check_ranks()
check_batch()
