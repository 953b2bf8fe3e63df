#!/usr/bin/env python3
"""curl against the jobs of the documentation: one process, and three ranks whose head answers for all of them."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, SKIPPED, SOURCE
from server import Server

if not shutil.which("curl"):
    print("curl is not installed: skipped")
    sys.exit(SKIPPED)


def curl(*arguments):
    done = subprocess.run(["curl", "-sS", "--max-time", "60", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def check(server):
    base = "http://127.0.0.1:%d" % server.port
    # The command of docs/SERVER.md as it stands there.
    page = (SOURCE / "docs/SERVER.md").read_text()
    body = re.search(r"curl -s http://127.0.0.1:1234/v1/chat/completions .*?-d '(.*?)'", page, re.S)[1]
    json_type = ("-H", "Content-Type: application/json")
    answer = json.loads(curl(base + "/v1/chat/completions", *json_type, "-d", json.dumps({**json.loads(body), "max_tokens": 8})))
    assert answer["choices"][0]["message"]["role"] == "assistant", answer
    lines = curl("-N", base + "/v1/completions", *json_type, "-d",
                 json.dumps({"prompt": "the", "max_tokens": 4, "stream": True})).split("\n\n")
    assert lines[-2] == "data: [DONE]" and lines[-1] == "", lines
    assert json.loads(curl(base + "/v1/models"))["data"][0]["object"] == "model"
    assert json.loads(curl(base + "/health"))["status"] == "ok"
    assert "HTTP/1.1 200 OK" in curl("-I", base + "/")
    # A body that curl announces first (Expect: 100-continue), one in chunks, and one of the wrong type.
    large = json.dumps({"prompt": "the " * 1000, "max_tokens": 1})
    for more in (("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked")):
        refused = json.loads(curl(base + "/v1/completions", *json_type, *more, "-d", large))
        assert refused["error"]["code"] == "context_length_exceeded", refused
    assert curl("-o", "/dev/null", "-w", "%{http_code}", base + "/v1/completions", "-d", "{}") == "415"


for ranks in (1, 3):
    with Server(ranks, "-m", MODELS / "hf/llama-9h-tied") as s:
        check(s)
        s.wait_idle()
        assert s.end() == 0
