#!/usr/bin/env python3
"""LangChain's ChatOpenAI from PyPI, unmodified, against three ranks."""
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, SKIPPED
from server import Server

try:
    import pydantic
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
    from langchain_openai import ChatOpenAI, OpenAI
except ImportError:
    print("langchain-openai is not installed: skipped")
    sys.exit(SKIPPED)

MODEL = pathlib.Path(os.environ.get("DINFER_DEMO_MODEL", MODELS / "hf/llama-9h-tied"))
MESSAGES = [SystemMessage("You are brief."), HumanMessage("Name three colours.")]


class Colour(pydantic.BaseModel):
    """A colour."""
    name: str = pydantic.Field(description="its name", min_length=1, max_length=20)
    warm: bool


def paint(colour: str, layers: int) -> str:
    """Paints the house."""
    return "%s %d" % (colour, layers)


def check_chat(chat):
    whole = chat.invoke(MESSAGES)
    chunks = list(chat.stream(MESSAGES, stream_usage=True))
    assert whole.content and "".join(chunk.content for chunk in chunks) == whole.content, (whole, chunks)
    counted = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert len(counted) == 1 and counted[0]["total_tokens"] == whole.usage_metadata["total_tokens"], counted
    batch = chat.batch([MESSAGES, [HumanMessage("Hi")], MESSAGES])
    assert batch[0].content == batch[2].content == whole.content
    entries = chat.bind(logprobs=True, top_logprobs=2).invoke(MESSAGES).response_metadata["logprobs"]["content"]
    assert len(entries) == whole.usage_metadata["output_tokens"] or len(entries) + 1 == whole.usage_metadata["output_tokens"]


def check_forms(chat):
    for method in ("json_schema", "function_calling"):
        made = chat.with_structured_output(Colour, method=method).invoke(MESSAGES)
        assert isinstance(made, Colour), (method, made)


def check_tools(chat):
    called = chat.bind_tools([paint], tool_choice="any").invoke(MESSAGES)
    call = called.tool_calls[0]
    assert call["name"] == "paint" and set(call["args"]) == {"colour", "layers"}, call
    merged = None
    for chunk in chat.bind_tools([paint], tool_choice="paint").stream(MESSAGES):
        merged = chunk if merged is None else merged + chunk
    assert merged.tool_calls[0]["name"] == "paint" and isinstance(merged.tool_calls[0]["args"]["layers"], int), merged
    # The call and its result go back.
    result = ToolMessage(paint("red", 2), tool_call_id=call["id"])
    after = chat.bind_tools([paint]).invoke([*MESSAGES, called, result])
    assert isinstance(after, AIMessage) and (after.content or after.tool_calls), after


with Server(3, "-m", MODEL, "--max-seq-len", 512) as server:
    endpoint = {"base_url": "http://127.0.0.1:%d/v1" % server.port, "api_key": "none", "model": "default", "temperature": 0,
                "max_retries": 0}
    check_chat(ChatOpenAI(**endpoint, max_tokens=24))
    by_responses = ChatOpenAI(**endpoint, max_tokens=24, use_responses_api=True)
    assert by_responses.invoke(MESSAGES).text == ChatOpenAI(**endpoint, max_tokens=24).invoke(MESSAGES).content
    assert "".join(chunk.text for chunk in by_responses.stream(MESSAGES)) == by_responses.invoke(MESSAGES).text
    check_forms(ChatOpenAI(**endpoint, max_tokens=200))
    check_tools(ChatOpenAI(**endpoint, max_tokens=200))
    text = OpenAI(**endpoint, max_tokens=8).invoke("One, two,")
    assert text == server.post("/v1/completions", {"prompt": "One, two,", "max_tokens": 8, "temperature": 0})["choices"][0]["text"]
    server.wait_idle()
    assert server.end() == 0
