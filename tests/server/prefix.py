#!/usr/bin/env python3
"""The prefix cache from outside: what began alike is not computed twice, and keys do not see each other's."""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS
from server import Server

MODEL = MODELS / "hf/llama-9h-tied"
PROMPT = list(range(3, 73))


def ask(server, key=None, **more):
    """(text, cached tokens)"""
    headers = {"Authorization": "Bearer " + key} if key else {}
    answer = server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "ignore_eos": True,
                                             **more}, headers=headers)
    return answer["choices"][0]["text"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


for ranks in (1, 3):
    with Server(ranks, "-m", MODEL, "--kv-block-size", 16) as server:
        first, cached = ask(server)
        assert cached == 0
        assert ask(server) == (first, 64)
        assert ask(server, cache_salt="mine") == (first, 0)
        assert ask(server, cache_salt="mine") == (first, 64)
        text, cached = ask(server, prompt=PROMPT[:40])
        assert cached == 32
        assert ask(server, repetition_penalty=1.3)[1] == 64
        scored = [server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 0, "echo": True, "logprobs": 1})
                  for _ in range(2)]
        assert all(len(s["choices"][0]["logprobs"]["token_logprobs"]) == len(PROMPT) for s in scored)
        server.wait_idle()
        engine = server.engine()
        assert engine["prompt_tokens_cached"] == 64 + 64 + 32 + 64, engine
        assert server.end() == 0

with Server(1, "-m", MODEL, "--no-prefix-cache") as server:
    assert ask(server)[1] == 0 and ask(server)[1] == 0
    assert server.end() == 0

with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
    keys.write("key-one\nkey-two\n")
    keys.flush()
    with Server(1, "-m", MODEL, "--api-key-file", keys.name) as server:
        assert ask(server, "key-one")[1] == 0
        assert ask(server, "key-one")[1] == 64
        assert ask(server, "key-two")[1] == 0
        assert server.end() == 0
