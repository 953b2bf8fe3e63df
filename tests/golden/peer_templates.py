#!/usr/bin/env python3
"""Compares dinfer's chat templates with Python's jinja2, set up as Hugging Face transformers does.

    peer_templates.py --render BUILD/tests/golden/render_template FOLDER

Renders every FOLDER/*.jinja with a matrix of conversations, and the small templates of
template_snippets.py, in both, and fails where the texts differ or only one of them raises.

    peer_templates.py --record tests/support/template_cases.json

writes what jinja2 makes of the small templates, for the unit tests.
"""

import argparse
import datetime
import glob
import json
import os
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from template_snippets import SNIPPETS

NOW = 1735787045  # 2025-01-02 03:04:05 UTC
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}: transformers notes what is inside; the text is the same."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_body", [])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def oracle():
    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = datetime.datetime.fromtimestamp(NOW).strftime
    return environment


def weather_tool():
    return {"type": "function", "function": {
        "name": "get_weather",
        "description": "The weather at a place, today.\nNot <b>tomorrow's</b>.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city, e.g. \"Zürich\""},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                "exact": {"type": "boolean"},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}},
                          "required": ["lat"]},
            },
            "required": ["city"]},
        "return": {"type": "object", "description": "the weather"}}}


def clock_tool():
    return {"type": "function", "function": {
        "name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, identifier):
    return {"id": identifier, "type": "function",
            "function": {"name": name, "arguments": arguments}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def conversations():
    """(name, messages, tools) of the matrix."""
    system = {"role": "system", "content": "You are terse.\n"}
    hello = user("  Hello — who are you? <|im_end|> {{ 1 }} \"quoted\" \\n ")
    tools = [weather_tool(), clock_tool()]
    ask = user("Weather in Zürich?")
    called = call("get_weather", {"city": "Zürich", "days": [1, 2], "exact": True, "where": None},
                  "abcdef123")
    second = call("clock", {}, "abcdef124")
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123",
              "content": "{\"temperature\": 21.5}"}
    second_result = {"role": "tool", "name": "clock", "tool_call_id": "abcdef124",
                     "content": "12:00"}
    parts = [{"type": "text", "text": "What is this?"}, {"type": "text", "text": " And that?"}]
    thought = assistant("Four.", reasoning_content="Two and two\nis four.")
    return [
        ("user", [hello], None),
        ("system", [system, hello], None),
        ("turns", [system, user("2+2?"), assistant("4"), user("3+3?"), assistant(" 6 \n"), hello],
         None),
        ("ends with assistant", [user("2+2?"), assistant("It is")], None),
        ("starts with assistant", [assistant("Hi"), user("2+2?")], None),
        ("two users", [user("a"), user("b")], None),
        ("late system", [user("a"), assistant("b"), system, user("c")], None),
        ("developer", [{"role": "developer", "content": "Be brief."}, user("a")], None),
        ("unknown role", [{"role": "robot", "content": "beep"}, user("a")], None),
        ("parts", [{"role": "system", "content": [{"type": "text", "text": "Sys."}]},
                   {"role": "user", "content": parts}], None),
        ("image", [{"role": "user", "content": [{"type": "image"}] + parts}], None),
        ("empty content", [user("")], None),
        ("none content", [user("a"), assistant(None), user("b")], None),
        ("no messages", [], None),
        ("reasoning", [user("2+2?"), thought, user("Sure?")], None),
        ("reasoning last", [user("2+2?"), thought], None),
        ("thinking", [user("2+2?"), assistant("Four.", thinking="Hm.", reasoning="Hm."),
                      user("Sure?")], None),
        ("think tags", [user("2+2?"), assistant("<think>\nHm.\n</think>\n\nFour."), user("Sure?")],
         None),
        ("tools", [ask], tools),
        ("tools and system", [system, ask], tools),
        ("bare tools", [ask], [weather_tool()["function"]]),
        ("tool call", [system, ask, assistant("", tool_calls=[called])], tools),
        ("tool call without content",
         [ask, {"role": "assistant", "tool_calls": [called]}, result], tools),
        ("tool result", [system, ask, assistant(None, tool_calls=[called]), result], tools),
        ("tool turns", [ask, assistant("Let me see.", tool_calls=[called]), result,
                        assistant("21.5 degrees."), user("Thanks")], tools),
        ("two tool calls", [ask, assistant("", tool_calls=[called, second]), result, second_result,
                            assistant("Done."), user("Again")], tools),
        ("reasoned tool call",
         [ask, assistant("", reasoning_content="I need a tool.", tool_calls=[called]), result],
         tools),
        ("text arguments",
         [ask, assistant("", tool_calls=[call("get_weather", "{\"city\": \"Bern\"}", "abcdef125")]),
          result], tools),
        ("tool content parts",
         [ask, assistant("", tool_calls=[called]),
          {**result, "content": [{"type": "text", "text": "21.5"}]}], tools),
        ("tool content mapping",
         [ask, assistant("", tool_calls=[called]), {**result, "content": {"t": 21.5}}], tools),
        ("lonely tool result", [ask, result], tools),
    ]


KWARGS = [
    {},
    {"enable_thinking": True},
    {"enable_thinking": False},
    {"thinking": True, "reasoning_effort": "high", "thinking_budget": 512},
    {"preserve_thinking": True, "clear_thinking": False, "date_string": "1 Jan 2025"},
    {"documents": [{"title": "T", "text": "Doc <one>."}, {"title": "U", "text": "Two."}]},
]


def requests(folder):
    for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
        with open(path, encoding="utf-8", newline="") as file:
            source = file.read()
        for name, messages, tools in conversations():
            for prompt in (False, True):
                for kwargs in KWARGS:
                    yield (os.path.basename(path), f"{name}, prompt {prompt}, {kwargs}"), {
                        "template": source, "messages": messages, "tools": tools,
                        "add_generation_prompt": prompt, "kwargs": kwargs, "now": NOW,
                        "special_texts": SPECIAL}


def snippet_requests():
    for name, source, kwargs in SNIPPETS:
        yield ("snippet " + name, source), {
            "template": source, "messages": [], "kwargs": kwargs, "now": NOW}


def expected(environment, compiled, request):
    source = request["template"]
    try:
        if source not in compiled:
            compiled[source] = environment.from_string(source)
        variables = {"tools": request.get("tools"), "documents": None,
                     "messages": request["messages"],
                     "add_generation_prompt": request.get("add_generation_prompt", False),
                     **request.get("special_texts", {}), **request["kwargs"]}
        return {"text": compiled[source].render(**variables)}
    except Exception as error:  # whatever Python raises counts as raising
        return {"error": f"{type(error).__name__}: {error}"}


def record(path):
    environment, compiled = oracle(), {}
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n")
        lines = []
        for (name, _), request in snippet_requests():
            case = {"name": name, "template": request["template"], "kwargs": request["kwargs"]}
            lines.append(json.dumps({**case, **expected(environment, compiled, request)}))
        file.write(",\n".join(lines) + "\n]\n")


def agrees(want, got):
    if "text" in want or "text" in got:
        return want.get("text") == got.get("text")
    kind, _, message = want["error"].partition(": ")
    return kind != "TemplateError" or message in got["error"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="with *.jinja files")
    parser.add_argument("--render", help="the program render_template")
    parser.add_argument("--record", metavar="FILE", help="write the cases of the unit tests")
    parser.add_argument("--show", type=int, default=5, help="differences to print")
    options = parser.parse_args()
    if options.record:
        return record(options.record)
    if not options.folder or not options.render:
        parser.error("give --render PROGRAM and a folder, or --record FILE")

    cases = list(requests(options.folder))
    if not cases:
        sys.exit(f"no templates in {options.folder}")
    cases += snippet_requests()
    lines = "".join(json.dumps(request) + "\n" for _, request in cases)
    answers = subprocess.run([options.render], input=lines.encode(), stdout=subprocess.PIPE,
                             check=True).stdout.decode().split("\n")[:-1]
    if len(answers) != len(cases):
        sys.exit(f"{len(answers)} answers to {len(cases)} cases")

    environment, compiled, failed, rendered = oracle(), {}, {}, 0
    for ((name, case), request), answer in zip(cases, answers):
        want, got = expected(environment, compiled, request), json.loads(answer)
        rendered += "text" in want
        if not agrees(want, got):
            failed.setdefault(name, []).append((case, want, got))
    for name, differences in failed.items():
        print(f"{name}: {len(differences)} cases differ")
        for case, want, got in differences[:options.show]:
            print(f"  {case}\n    jinja2 {json.dumps(want)}\n    dinfer {json.dumps(got)}")
    templates = len({name for (name, _), _ in cases})
    print(f"{templates} templates, {len(cases)} cases, {rendered} of them texts: "
          f"{len(failed)} templates differ")
    sys.exit(1 if failed or rendered == 0 else 0)


if __name__ == "__main__":
    main()
