#!/usr/bin/env python3
"""openai-python from PyPI, unmodified, against three ranks."""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, must_run
from server import Server

try:
    import openai
except ImportError:
    print("openai is not installed: skipped")
    sys.exit(77)

MODEL = pathlib.Path(os.environ.get("DINFER_DEMO_MODEL", MODELS / "hf/qwen3-sharded"))
QUESTION = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name three colours."}]


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError("no %s" % kind.__name__)


with Server(3, "-m", MODEL, "--max-seq-len", 512) as server:
    client = openai.OpenAI(base_url="http://127.0.0.1:%d/v1" % server.port, api_key="none", max_retries=0)
    name = client.models.list().data[0].id
    assert client.models.retrieve(name).id == name

    chat = client.chat.completions.create(model=name, messages=QUESTION, temperature=0, max_tokens=24)
    ran = json.loads(must_run(3, "run", "-m", MODEL, "--cpu", "--json", "--temperature", 0, "--max-tokens", 24,
                              "--max-seq-len", 512, "--system", QUESTION[0]["content"], "-p", QUESTION[1]["content"]))
    assert chat.choices[0].message.content == ran["text"], (chat.choices[0].message.content, ran["text"])
    assert chat.usage.completion_tokens == len(ran["tokens"]) and chat.usage.prompt_tokens == len(ran["prompt_tokens"])

    pieces, usage = [], None
    for chunk in client.chat.completions.create(model=name, messages=QUESTION, temperature=0, max_completion_tokens=24,
                                                stream=True, stream_options={"include_usage": True}):
        pieces += [choice.delta.content or "" for choice in chunk.choices]
        usage = chunk.usage or usage
    assert "".join(pieces) == ran["text"] and usage == chat.usage

    completion = client.completions.create(model=name, prompt=["One, two,", "Red, green,"], max_tokens=8, temperature=0,
                                           logprobs=1, n=2)
    assert len(completion.choices) == 4 and completion.choices[0].text == completion.choices[1].text
    assert len(completion.choices[0].logprobs.token_logprobs) == 8
    seeded = [client.completions.create(model=name, prompt="Once", max_tokens=8, seed=11).choices[0].text for _ in range(2)]
    assert seeded[0] == seeded[1]
    top = client.chat.completions.create(model=name, messages=QUESTION, max_tokens=2, logprobs=True, top_logprobs=2)
    assert len(top.choices[0].logprobs.content[0].top_logprobs) == 2

    error = refused(openai.BadRequestError, lambda: client.chat.completions.create(model=name, messages=[]))
    assert error.param == "messages" and error.code, error
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    error = refused(openai.BadRequestError,
                    lambda: client.chat.completions.create(model=name, messages=QUESTION, tools=tools))
    assert error.param == "tools" and error.code == "unsupported_parameter"
    refused(openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-4", messages=QUESTION))

    # A stream that is closed early leaves nothing behind.
    stream = client.chat.completions.create(model=name, messages=QUESTION, stream=True, max_tokens=400,
                                            extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    server.wait_idle(5)
    assert server.end() == 0
