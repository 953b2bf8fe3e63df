#!/usr/bin/env python3
"""Random clients for a while: connects, cancels in every phase, slow readers, bad requests, overload. At the end answers are
those of an idle server, and nothing is held that was not held before.

  DINFER_SOAK_SECONDS   how long (default: 20)
"""
import collections
import contextlib
import json
import os
import pathlib
import random
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS
from process_facts import children
from server import Server

MODEL = MODELS / "hf/llama-9h-tied"
SECONDS = float(os.environ.get("DINFER_SOAK_SECONDS", 20))
CLIENTS = 24
PROMPTS = ["the", "word one", "int main() {", "eins zwei", "a b c d e f g h i j", "return " * 40]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[ab]{3}$"}, "b": {"type": "number", "minimum": 0}},
          "required": ["a", "b"]}


def known(i):
    """A request with one right answer: greedy or seeded, plain or of a form."""
    body = {"prompt": PROMPTS[i % len(PROMPTS)], "max_tokens": 24, "ignore_eos": True}
    body.update({"temperature": 0} if i % 2 else {"temperature": 1.0, "seed": i})
    if i % 5 == 4:
        body.update(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}, max_tokens=60,
                    ignore_eos=False)
    return body


KNOWN = 20


class Soak:
    def __init__(self, server):
        self.server = server
        self.answers = [server.post("/v1/completions", known(i))["choices"][0]["text"] for i in range(KNOWN)]
        self.counts = collections.Counter()
        self.errors = []
        self.until = time.monotonic() + SECONDS

    def ask(self, rng):
        i = rng.randrange(KNOWN)
        status, headers, text = self.server.request("POST", "/v1/completions", known(i))
        self.counts[status] += 1
        if status == 429:
            assert int(headers["Retry-After"]) >= 1
            return time.sleep(rng.random() * 0.2)
        assert status == 200, text
        got = json.loads(text)["choices"][0]["text"]
        assert got == self.answers[i], (i, got, self.answers[i])

    def open_stream(self, rng, receive_buffer=None):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.server.port))
        body = json.dumps({"prompt": rng.choice(PROMPTS), "max_tokens": 400, "ignore_eos": True, "stream": True, "logprobs": 20,
                           "n": rng.choice((1, 1, 3))}).encode()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return connection

    def leave(self, rng):
        with self.open_stream(rng) as connection:
            time.sleep(rng.random() ** 2)
            if rng.random() < 0.5:
                connection.recv(4096)
        self.counts["left"] += 1

    def read_slowly(self, rng):
        # With so small a window the rest of an answer may come minutes later, by the kernel's probes.
        with contextlib.suppress(TimeoutError, ConnectionResetError), self.open_stream(rng, receive_buffer=2048) as connection:
            connection.settimeout(3)
            for _ in range(rng.randrange(8)):
                connection.recv(64)
                time.sleep(0.3)
        self.counts["slow"] += 1

    def say_nothing(self, rng):
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"[:rng.randrange(1, 50)])
            time.sleep(rng.random())
        self.counts["silent"] += 1

    def ask_wrongly(self, rng):
        body = rng.choice(({"prompt": 5}, {"prompt": "a", "n": 99}, {"prompt": "a " * 4000}, [], {"prompt": "a", "stop": [1]}))
        status, _, _ = self.server.request("POST", rng.choice(("/v1/completions", "/v1/responses", "/v1/chat/completions")), body)
        self.counts[status] += 1
        assert status in (400, 429), status

    def look(self, rng):
        path = rng.choice(("/metrics", "/health?deep=1", "/v1/models", "/v1/dinfer/status", "/"))
        status, _, _ = self.server.request("GET", path)
        assert status in ((200, 503) if "deep" in path else (200,)), (path, status)
        self.counts["looks"] += 1

    def client(self, seed):
        rng = random.Random(seed)
        acts = [self.ask] * 8 + [self.leave] * 4 + [self.read_slowly, self.say_nothing, self.ask_wrongly, self.look]
        try:
            while time.monotonic() < self.until and not self.errors:
                rng.choice(acts)(rng)
        except BaseException as error:  # told to the main thread
            self.errors.append(error)

    def run(self):
        threads = [threading.Thread(target=self.client, args=(seed,)) for seed in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        self.server.wait_idle()
        for i in range(KNOWN):
            assert self.server.post("/v1/completions", known(i))["choices"][0]["text"] == self.answers[i]
        assert self.counts[200] > 0 and self.counts["left"] > 0
        print(SECONDS, "s:", dict(self.counts), flush=True)


def held(server):
    """Open descriptors and memory (KiB) of the head and its children."""
    found = [0, 0]
    for pid in [server.process.pid, *children(server.process.pid)]:
        found[0] += len(list(pathlib.Path("/proc/%d/fd" % pid).iterdir()))
        for line in pathlib.Path("/proc/%d/status" % pid).read_text().splitlines():
            if line.startswith("VmRSS:"):
                found[1] += int(line.split()[1])
    return found


with Server(3, "-m", MODEL, "--max-seqs", 8, "--max-queue", 12, "--kv-blocks", 96, "--max-seq-len", 512,
            "--cpu-math", "f32", "--write-timeout", 2, "--header-timeout", 2) as s:
    soak = Soak(s)
    before = held(s)
    soak.run()
    until = time.monotonic() + 20  # connections that were left open are closed in their time
    while (after := held(s))[0] > before[0] + 3 and time.monotonic() < until:
        time.sleep(0.2)
    print("descriptors, KiB:", before, "->", after, flush=True)
    assert after[0] <= before[0] + 3, (before, after)
    assert after[1] <= before[1] + 128 * 1024, (before, after)
    assert s.end() == 0
