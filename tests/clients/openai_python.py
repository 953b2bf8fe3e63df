#!/usr/bin/env python3
"""openai-python from PyPI, unmodified, against three ranks."""
import datetime
import json
import os
import pathlib
import sys
import typing
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, must_run
from server import Server

try:
    import openai
    import pydantic
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


def check_structured(client, name):
    class Colour(pydantic.BaseModel):
        name: str
        shades: typing.Annotated[list[typing.Literal["light", "dark"]], pydantic.Field(max_length=3)]
        share: typing.Annotated[int, pydantic.Field(ge=0, le=100)]
        code: typing.Annotated[str, pydantic.Field(pattern=r"^[A-F0-9]{6}$")]
        weight: typing.Annotated[float, pydantic.Field(gt=0, lt=1)]
        since: datetime.date
        id: uuid.UUID
        note: typing.Optional[typing.Annotated[str, pydantic.Field(max_length=8)]] = None

    parsed = client.chat.completions.parse(model=name, messages=QUESTION, response_format=Colour, max_tokens=400,
                                           temperature=0, stop=None).choices[0].message.parsed
    assert isinstance(parsed, Colour), parsed
    free = client.chat.completions.create(model=name, messages=QUESTION, response_format={"type": "json_object"},
                                          max_tokens=400, temperature=0, logit_bias={})
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content), dict)
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}
    error = refused(openai.BadRequestError, lambda: client.chat.completions.create(
        model=name, messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))
    assert error.code == "unsupported_schema" and "pattern" in error.message and "$.properties.a" in error.message, error


def check_tools(client, name):
    def tool(name_, **properties):
        return {"type": "function", "function": {"name": name_, "description": "A function", "parameters": {
            "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}}}

    tools = [tool("paint", colour={"enum": ["red", "green"]}, layers={"type": "integer", "minimum": 1, "maximum": 9}),
             tool("mix", first={"type": "string", "maxLength": 12})]
    asked = {"model": name, "messages": QUESTION, "tools": tools, "max_tokens": 300, "temperature": 0}
    answer = client.chat.completions.create(**asked, tool_choice="required", parallel_tool_calls=False).choices[0]
    assert answer.finish_reason == "tool_calls" and len(answer.message.tool_calls) == 1, answer
    call = answer.message.tool_calls[0]
    assert call.function.name in ("paint", "mix") and json.loads(call.function.arguments), call

    named = {"type": "function", "function": {"name": "paint"}}
    with client.chat.completions.stream(**asked, tool_choice=named) as stream:
        deltas = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
        final = stream.get_final_completion().choices[0]
    assert len(deltas) > 2, "arguments come as they are written"
    assert final.finish_reason == "tool_calls", final
    arguments = json.loads(final.message.tool_calls[0].function.arguments)
    assert final.message.tool_calls[0].function.name == "paint"
    assert arguments["colour"] in ("red", "green") and 1 <= arguments["layers"] <= 9, arguments

    # The call and its result go back; the model may now answer in text.
    more = QUESTION + [{"role": "assistant", "content": None, "tool_calls": [call.model_dump()]},
                       {"role": "tool", "tool_call_id": call.id, "content": "done"}]
    automatic = client.chat.completions.create(**{**asked, "messages": more, "max_tokens": 30}).choices[0]
    assert automatic.finish_reason in ("stop", "length", "tool_calls"), automatic


def check_responses(client, name, text):
    """The same model through /v1/responses: text, events, forms, calls and their results."""
    asked = {"model": name, "instructions": QUESTION[0]["content"], "input": QUESTION[1]["content"], "temperature": 0}
    whole = client.responses.create(**asked, max_output_tokens=24)
    assert whole.output_text == text and whole.status in ("completed", "incomplete"), whole
    assert whole.usage.output_tokens > 0 and whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    with client.responses.stream(**asked, max_output_tokens=24) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type in ("response.completed", "response.incomplete")
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert events[-1].response.output[0].content[0].text == text and events[-1].response.usage == whole.usage
    turns = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}, *whole.output,
             {"role": "user", "content": "Another."}]
    assert client.responses.create(model=name, input=turns, max_output_tokens=4).output_text is not None
    top = client.responses.create(**asked, max_output_tokens=2, include=["message.output_text.logprobs"], top_logprobs=2)
    assert len(top.output[0].content[0].logprobs[0].top_logprobs) == 2

    class Colour(pydantic.BaseModel):
        name: typing.Annotated[str, pydantic.Field(max_length=20)]
        warm: bool

    assert isinstance(client.responses.parse(**asked, text_format=Colour, max_output_tokens=200).output_parsed, Colour)
    tool = {"type": "function", "name": "paint", "strict": True, "parameters": {
        "type": "object", "properties": {"colour": {"enum": ["red", "green"]}, "layers": {"type": "integer", "maximum": 9}},
        "required": ["colour", "layers"], "additionalProperties": False}}
    with client.responses.stream(**asked, tools=[tool], tool_choice="required", parallel_tool_calls=False,
                                 max_output_tokens=200) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    call = final.output[0]
    assert call.type == "function_call" and call.name == "paint" and json.loads(call.arguments)["layers"] <= 9, call
    assert len(deltas) > 2 and "".join(deltas) == call.arguments, deltas
    history = [{"role": "user", "content": QUESTION[1]["content"]}, call.model_dump(exclude_none=True),
               {"type": "function_call_output", "call_id": call.call_id, "output": "done"}]
    after = client.responses.create(model=name, input=history, tools=[tool], max_output_tokens=16)
    assert after.output, after
    error = refused(openai.BadRequestError, lambda: client.responses.create(**asked, previous_response_id="resp_1"))
    assert error.param == "previous_response_id", error
    error = refused(openai.BadRequestError, lambda: client.responses.create(model=name, input=[{"role": "cook", "content": ""}]))
    assert error.param == "input[0].role", error


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
    assert "".join(pieces) == ran["text"] and usage.total_tokens == chat.usage.total_tokens

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
    error = refused(openai.BadRequestError,
                    lambda: client.chat.completions.create(model=name, messages=QUESTION, functions=[{"name": "f"}]))
    assert error.param == "functions" and error.code == "unsupported_parameter"
    refused(openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-4", messages=QUESTION))

    check_structured(client, name)
    check_tools(client, name)
    check_responses(client, name, ran["text"])

    # A stream that is closed early leaves nothing behind.
    stream = client.chat.completions.create(model=name, messages=QUESTION, stream=True, max_tokens=400,
                                            extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    server.wait_idle()
    assert server.end() == 0
