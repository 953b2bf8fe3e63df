#!/usr/bin/env python3
"""schemathesis from PyPI, unmodified: /openapi.json describes the server, and nothing that it makes up breaks it."""
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, SKIPPED
from server import Server

try:
    import schemathesis
except ImportError:
    print("schemathesis is not installed: skipped")
    sys.exit(SKIPPED)

EXAMPLES = "25"  # an endpoint and phase
# What no schema can say (the length of a context, which JSON Schemas are available) is a 400 to a request that looks right.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["200", "400", "404", "408"]
"""


def check(folder, *more, header=()):
    with Server(3, "-m", MODELS / "hf/llama-9h-tied", "--request-timeout", 2, "--max-seq-len", 128, *more) as server:
        make_up_requests(folder, server, header)
        assert server.end() == 0


def make_up_requests(folder, server, header):
    pathlib.Path(folder, "schemathesis.toml").write_text(CONFIG)
    done = subprocess.run([pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", "schemathesis.toml", "run",
                           "http://127.0.0.1:%d/openapi.json" % server.port, "--max-examples", EXAMPLES, "--workers", "1",
                           "--seed", "1", "--request-timeout", "20", "--phases", "examples,coverage,fuzzing", "--no-color", *header],
                          cwd=folder, capture_output=True, text=True, timeout=270)
    print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0, done.returncode
    assert server.get("/health") == {"status": "ok"}


with tempfile.TemporaryDirectory() as scratch:
    keys = pathlib.Path(scratch, "keys")
    keys.write_text("a-key\n")
    keys.chmod(0o600)
    check(scratch)
    check(scratch, "--api-key-file", keys, header=("-H", "Authorization: Bearer a-key"))
