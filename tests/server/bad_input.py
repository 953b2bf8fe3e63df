#!/usr/bin/env python3
"""Bad input of every kind (docs/SERVER.md has the table): refused with the status and the field at fault named, the engine
untouched, and the next good request answered as ever."""
import functools
import json
import pathlib
import socket
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS
from server import Server
from together import Together

MODEL = MODELS / "hf/qwen3-sharded"
LONGEST = 512
GOOD = {"prompt": "The quick brown fox", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
USER = [{"role": "user", "content": "hello"}]
CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"


def memory(server):
    status = pathlib.Path("/proc/%d/status" % server.process.pid).read_text()
    return int(status.split("VmRSS:")[1].split()[0])


class Untouched:
    """What is done within takes the engine no step, and little memory for good."""

    def __init__(self, server, name):
        self.server, self.name = server, name

    def __enter__(self):
        self.answer = self.server.post(COMPLETE, GOOD)["choices"][0]["text"]
        self.steps, self.memory = self.server.engine()["steps"], memory(self.server)

    def __exit__(self, kind, value, trace):
        if kind:
            return
        assert self.server.engine()["steps"] == self.steps, self.name
        assert memory(self.server) < self.memory + 64 * 1024, self.name
        assert self.server.post(COMPLETE, GOOD)["choices"][0]["text"] == self.answer, self.name


def refused(server, path, body, named, status=400):
    """The answer is an error in OpenAI's form that names the field, within seconds on a busy machine."""
    began = time.monotonic()
    got, _, text = server.request("POST", path, body, {"Content-Type": "application/json"})
    assert got == status, (path, str(body)[:200], got, text[:300])
    error = json.loads(text)["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert named in "%s %s" % (error["param"], error["message"]), (named, error)
    assert time.monotonic() - began < 5, (path, str(body)[:100], time.monotonic() - began)


def raw_status(server, data):
    received = server.raw(data)
    return int(received.split(b" ", 2)[1]) if received else None


def check_http(server):
    """B1, beside what hostile.py and http_gate_test.cpp probe."""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for method in (b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW"):
        assert raw_status(server, method + b" /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") in (
            400, 405, 501), method
    for target in (b"/../etc/passwd", b"/v1/%2e%2e/%2e%2e/etc/passwd", b"//etc/passwd", b"/v1/models/../../x", b"/v1//models"):
        assert raw_status(server, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n") in (
            400, 404), target
    assert raw_status(server, head + b"".join(b"X-%d: a\r\n" % i for i in range(100_000))[:1 << 20]) == 431
    # A body in chunks that does not end: counted as it comes.
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        sent, received = 0, b""
        try:
            while sent < 1 << 30:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        try:
            received = connection.recv(4096)
        except OSError:
            pass
        assert sent < 64 << 20 and (not received or b" 413 " in received), (sent, received[:100])
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(200)]
    assert server.post(COMPLETE, GOOD)["usage"]["completion_tokens"] == 8
    for connection in held:
        connection.close()


def check_json(server):
    """B2, beside hostile.py."""
    for text, named in ((b'{"prompt": "a", "max_tokens": "1"}', "max_tokens"), (b'{"prompt": "a", "n": "1"}', "n"),
                        (b'{"prompt": "a", "max_tokens": -1}', "max_tokens"),
                        (b'{"prompt": "a", "max_tokens": 9223372036854775808}', "max_tokens"),
                        (b'{"prompt": "a", "seed": 18446744073709551616}', "seed"),
                        (b'{"prompt": "a", "max_tokens": 1.5}', "max_tokens"), (b'{"prompt": "a", "stream": 1}', "stream"),
                        (b'{"prompt": "a", "temperature": "NaN"}', "temperature"),
                        (b'{"prompt": {}}', "prompt"), (b'{"prompt": true}', "prompt"), (b'{"prompt": [[1], "a", {}]}', "prompt"),
                        (b"[" * 100_000 + b"]" * 100_000, ""), (b'{"prompt": "\x00"}', ""),
                        (b'{"prompt": "%s"}' % (b"a" * (5 << 20)), "prompt"), (b"[" + b"0," * 2_000_000 + b"0]", "")):
        refused(server, COMPLETE, text, named)


def check_fields(server):
    """B3: each number just outside its range, and of the wrong type."""
    ranges = {"temperature": (0, 100), "top_p": (0, 1), "min_p": (0, 1), "presence_penalty": (-2, 2),
              "frequency_penalty": (-2, 2), "repetition_penalty": (0.001, 1000), "top_k": (-1, 2**31), "n": (1, 16),
              "min_tokens": (0, None), "seed": (-2**63, 2**63 - 1), "logprobs": (0, 20), "timeout": (0.001, 600)}
    for name, (low, high) in ranges.items():
        for value in ((low - 1, low * 2 - 1 if low < 0 else low - 0.5, "1", [], {}, True, 1e300, -1e300)
                      + ((high + 1,) if high is not None else ())):
            refused(server, COMPLETE, {"prompt": "a", name: value}, name)
    many = "[" + ",".join('"s%d"' % i for i in range(10_000)) + "]"
    for body, named in (('{"prompt": "a", "stop": %s}' % many, "stop"), ({"prompt": "a", "stop": ""}, "stop"),
                        ({"prompt": "a", "stop": [""]}, "stop"), ({"prompt": "a", "stop": "x" * 300}, "stop"),
                        ({"prompt": "a", "n": 10**6}, "n"), ({"prompt": ["a"] * 600}, "prompt: 600 sequences"),
                        ({"prompt": ["a"] * 100, "n": 16}, "n: 1600 sequences"),
                        ({"prompt": "a", "logit_bias": {str(i): 1 for i in range(2000)}}, "logit_bias"),
                        ({"prompt": "a", "logit_bias": {"99999999": 1}}, "logit_bias"),
                        ({"prompt": "a", "logit_bias": {"-1": 1}}, "logit_bias"),
                        ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias"), ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
                        ({"prompt": "a", "min_tokens": 9, "max_tokens": 8}, "min_tokens"),
                        ({"prompt": "a", "stop_token_ids": [-1]}, "stop_token_ids")):
        refused(server, COMPLETE, body, named)
    for messages, named in (([], "messages"), ("hello", "messages"), ([{}], "messages[0]"), ([5], "messages[0]"),
                            (USER * 5000, "messages"), ([{"role": "robot", "content": "x"}], "messages[0].role"),
                            ([{"role": "user"}], "messages[0]"), ([{"role": "user", "content": 5}], "messages[0].content"),
                            ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content"),
                            (USER + [{"role": "assistant", "tool_calls": [{}]}], "messages[1].tool_calls"),
                            (USER + [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
                             "arguments")):
        refused(server, CHAT, {"messages": messages}, named)
    for path, body in ((COMPLETE, {"messages": USER}), (CHAT, {"prompt": "a"}), (CHAT, {}), (COMPLETE, {})):
        refused(server, path, body, "prompt" if path == COMPLETE and "messages" not in body else "messages")
    refused(server, COMPLETE, {"prompt": "a", "model": "other"}, "model", status=404)


def check_prompts(server):
    """B4, where the answer is a refusal."""
    vocab = server.get("/tokenizer_info")["vocab_size"]
    for prompt in ("", [], [""], [[]], [[1], []]):
        refused(server, COMPLETE, {"prompt": prompt}, "prompt")
    for ids in ([-1], [vocab], [2**31], [1.5], ["a", 1], [True]):
        refused(server, COMPLETE, {"prompt": ids}, "prompt")
    for ids in ([5] * (LONGEST + 1), [5] * LONGEST):  # one place is the answer's
        refused(server, COMPLETE, {"prompt": ids}, "context length")
    refused(server, COMPLETE, {"prompt": "a" * (1 << 20)}, "context length")
    refused(server, COMPLETE, {"prompt": "".join(chr(c) for c in range(0x20, 0xD800)) * 8}, "context length")
    refused(server, COMPLETE, {"prompt": ["a"] * 3000}, "prompt")


def check_right_answers(server):
    """B4, where there is a right answer."""
    assert server.post(COMPLETE, {**GOOD, "prompt": [5] * (LONGEST - 1)})["usage"]["completion_tokens"] == 1
    assert server.post(COMPLETE, {**GOOD, "prompt": [5]})["usage"]["prompt_tokens"] == 1
    for text in ("\u202eabc\u200b\u0301\u0301", "\U0001f469\u200d\U0001f680", "\ud7ff\ue000\U0010ffff"):
        tokens = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
        assert server.post("/detokenize", {"tokens": tokens})["prompt"] == text
        assert server.post(COMPLETE, {**GOOD, "prompt": text})["usage"]["completion_tokens"] == 8
    # A stop text whose bytes come in several tokens, and one that the answer never has.
    whole = server.post(COMPLETE, GOOD)["choices"][0]["text"]
    for stop in (whole[-3:], whole[2:5]):
        cut = server.post(COMPLETE, {**GOOD, "stop": stop})["choices"][0]
        assert cut["text"] == whole[:whole.index(stop)] and cut["finish_reason"] == "stop", (whole, stop, cut)
    assert server.post(COMPLETE, {**GOOD, "stop": "\U0001f680"})["choices"][0]["text"] == whole


def check_schemas(server):
    """B6: at once, by name."""
    def asked(schema):
        return {"messages": USER, "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}

    deep = {"type": "string"}
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    optional = {"type": "object", "properties": {"p%d" % i: {"enum": ["a%d" % j for j in range(64)]} for i in range(2000)}}
    for schema, named in (({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}, "pattern"),
                          ({"type": "string", "pattern": "(a"}, "pattern"), ({"type": "string", "pattern": r"\p{L}+"}, "pattern"),
                          ({"type": "string", "pattern": r"(a)\1"}, "pattern"), ({"type": "string", "pattern": "a{100000}"}, ""),
                          ({"type": "string", "pattern": "((a{99}){99}){99}"}, ""), ({"$ref": "#/$defs/none"}, "$ref"),
                          ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, ""),
                          ({"type": "integer", "minimum": 5, "maximum": 4}, ""), ({"type": "array", "minItems": 10**9}, ""),
                          ({"type": "string", "minLength": 10**9}, ""), ({"enum": ["e%d" % i * 9 for i in range(50_000)]}, "nodes"),
                          ({"type": "nothing"}, "type"), ({"multipleOf": 3}, "multipleOf"), (optional, ""), ([], "schema"),
                          ({"not": {}}, "not"), (False, "")):
        refused(server, CHAT, asked(schema), named)
    nested = '{"type": "array", "items": ' * 10_000 + "{}" + "}" * 10_000
    refused(server, CHAT, '{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_schema", '
            '"json_schema": {"schema": %s}}}' % nested, "")


def check_repeated_pattern(server):
    """B6: a pattern on which other engines take exponential time has an answer."""
    schema = {"type": "string", "pattern": "^(a+)+$"}
    began = time.monotonic()
    answer = server.post(CHAT, {"messages": USER, "max_tokens": 12, "response_format": {"type": "json_schema", "json_schema": {
        "name": "s", "schema": schema}}})["choices"][0]["message"]["content"]
    assert set(answer) <= set('"a') and time.monotonic() - began < 5, answer


def check_large_choice(server):
    """B6: thousands of choices are one automaton."""
    names = ["name%d" % i for i in range(10_000)]
    answer = server.post(CHAT, {"messages": USER, "max_tokens": 40, "response_format": {"type": "json_schema", "json_schema": {
        "name": "s", "schema": {"enum": names}}}})["choices"][0]["message"]["content"]
    assert json.loads(answer) in names


def check_templates():
    """B5: a template without end is cut by its budget, named, while others are answered."""
    for source, named in (("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps"),
                          ("{{ 'a' * 1000000000 }}", "grows"), ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested"),
                          ("{{ raise_exception('not so') }}", "not so"), ("{{ cycler.__init__.__globals__ }}", ""),
                          ("{% include 'x' %}", "")):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            file.write(source)
            file.flush()
            server = Server(1, "-m", MODEL, "--chat-template", file.name, ready=False)
            with server:
                if not server._ready.wait(60) or not server.port:
                    assert server.wait() == 4, "".join(server.log)  # refused before anything is served
                    continue
                status, _, text = server.request("POST", CHAT, {"messages": USER})
                assert status in (400, 500) and named in text, (source, status, text)
                assert server.post(COMPLETE, GOOD)["usage"]["completion_tokens"] == 8
                assert server.end() == 0


def check_large_bodies(server):
    """Bodies that take long to read keep small ones waiting no longer than their own work."""
    ended = []

    def ask(_):
        assert server.request("POST", COMPLETE, {"prompt": "ab cd " * 1_200_000})[0] == 400
        ended.append(time.monotonic())

    large = Together([functools.partial(ask, i) for i in range(6)])
    time.sleep(0.3)  # by then they are being read
    server.post(COMPLETE, GOOD)
    before = len(ended)
    large.end()
    assert before <= 3, "a small body was read after %d large ones" % before


def check_many_at_once(server):
    """All of it from several clients, beside good requests."""
    bad = Together([functools.partial(work, server) for work in (check_json, check_fields, check_schemas, check_prompts)])
    answer = server.post(COMPLETE, GOOD)["choices"][0]["text"]
    while bad.running():
        assert server.post(COMPLETE, GOOD)["choices"][0]["text"] == answer
    bad.end()


with Server(1, "-m", MODEL, "--max-seq-len", LONGEST) as s:
    for check in (check_json, check_fields, check_prompts, check_schemas):
        with Untouched(s, check.__name__):
            check(s)
    check_http(s)
    check_right_answers(s)
    check_repeated_pattern(s)
    check_large_choice(s)
    check_large_bodies(s)
    check_many_at_once(s)
    s.wait_idle()
    assert s.end() == 0
check_templates()
