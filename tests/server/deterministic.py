#!/usr/bin/env python3
"""--deterministic: answers and their log-probabilities are the same to the last bit, alone and beside any other load."""
import contextlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, has_mpi
from server import Server, in_background

MODEL = MODELS / "hf/llama-9h-tied"
COMPLETE = "/v1/completions"
ASKED = [{"prompt": "the", "max_tokens": 60, "temperature": 0, "ignore_eos": True, "logprobs": 3},
         {"prompt": list(range(3, 303)), "max_tokens": 24, "temperature": 0, "ignore_eos": True, "logprobs": 3},
         {"prompt": [7] * 129, "max_tokens": 24, "temperature": 1.0, "seed": 5, "n": 3, "top_p": 0.9, "logprobs": 1},
         {"prompt": [9, 8, 7] * 60, "max_tokens": 0, "echo": True, "logprobs": 2},
         {"prompt": "a b c", "max_tokens": 40, "temperature": 0.8, "seed": 6, "frequency_penalty": 0.5, "logprobs": 1}]
# What runs beside: short and long prompts, sampled, each time others.
BESIDE = [{"prompt": "word", "max_tokens": 30, "temperature": 1.0}, {"prompt": [11] * 333, "max_tokens": 9, "temperature": 1.0},
          {"prompt": [5, 6] * 40, "max_tokens": 3, "temperature": 1.0, "n": 2}]


def answers(server):
    return [json.dumps(server.post(COMPLETE, body)["choices"]) for body in ASKED]


def check(ranks, *options):
    with Server(ranks, "-m", MODEL, "--deterministic", "--max-seqs", 12, *options) as server:
        alone = answers(server)
        with contextlib.ExitStack() as stack:
            for body in BESIDE:
                stack.enter_context(in_background(server, body, 3))
            for _ in range(2):
                for got, wanted in zip(answers(server), alone):
                    assert got == wanted, (ranks, options, got, wanted)
            # All at once, too.
            together = server.post(COMPLETE, {**ASKED[0], "prompt": ["the"] * 8})["choices"]
            first = json.loads(alone[0])[0]
            assert all(choice["logprobs"]["token_logprobs"] == first["logprobs"]["token_logprobs"] for choice in together)
        server.wait_idle()
        assert server.end() == 0
    return alone


check(1)
check(1, "--cpu-math", "f32", "--quant", 8)
check(2, "--pp", 2)
over_tcp = check(1, "--tp", 3)
if has_mpi():
    assert check(3) == over_tcp  # the order of sums is that of the ranks, whatever carries them
