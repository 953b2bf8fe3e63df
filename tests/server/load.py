#!/usr/bin/env python3
"""Many clients at once, some of them rude: greedy answers stay those of an idle server, and nothing is left behind."""
import functools
import json
import pathlib
import random
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS
from server import Server
from together import Together

MODEL = MODELS / "hf/llama-9h-tied"
PROMPTS = ["the", "word one", "int main() {", "eins zwei", "a b c d e f g h i j", "return"]


def body(prompt, tokens, **more):
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more}


def in_parallel(count, work):
    Together([functools.partial(work, i) for i in range(count)]).end()


def open_stream(server, prompt, tokens, receive_buffer=None, **more):
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", server.port))
    data = json.dumps(body(prompt, tokens, stream=True, logprobs=20, **more)).encode()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                       b"Content-Length: %d\r\n\r\n" % len(data) + data)
    return connection


def check_overlapping(server):
    alone = [server.post("/v1/completions", body(p, 40))["choices"][0]["text"] for p in PROMPTS]
    sampled = server.post("/v1/completions", body("the", 30, temperature=1.0, seed=3))["choices"][0]["text"]

    def work(i):
        for round_ in range(4):
            prompt = (i + round_) % len(PROMPTS)
            if (i + round_) % 3 == 0:
                events = server.stream("/v1/completions", body(PROMPTS[prompt], 40))
                got = "".join(e["choices"][0]["text"] for e in events)
            else:
                got = server.post("/v1/completions", body(PROMPTS[prompt], 40))["choices"][0]["text"]
            assert got == alone[prompt], (prompt, got, alone[prompt])
        got = server.post("/v1/completions", body("the", 30, temperature=1.0, seed=3))["choices"][0]["text"]
        assert got == sampled, (got, sampled)

    in_parallel(12, work)
    server.wait_idle()


def check_cancel(server):
    """Clients that leave: their sequences end, in every phase."""
    random.seed(5)

    def work(_):
        connection = open_stream(server, "the", 400)
        time.sleep(random.random() * 0.3)
        connection.close()

    for _ in range(3):
        in_parallel(10, work)
    server.wait_idle()
    # A whole answer is cancelled too.
    data = json.dumps(body("the", 400)).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(data) + data)
        time.sleep(0.05)
    server.wait_idle()


def check_slow_readers(server):
    """Clients that do not read cost nothing but memory, and are given up."""
    held = [open_stream(server, "the", 450, receive_buffer=2048, n=4) for _ in range(6)]
    began = time.monotonic()
    for _ in range(5):
        server.post("/v1/completions", body("word", 20))
    assert time.monotonic() - began < 20
    server.wait_idle(60)
    until = time.monotonic() + 20
    while server.get("/v1/dinfer/status")["http"]["slow_readers"] < 1:
        assert time.monotonic() < until, "no slow reader was given up"
        time.sleep(0.2)
    for connection in held:
        connection.close()


def check_overload(server):
    statuses = []

    def work(_):
        status, headers, text = server.request("POST", "/v1/completions", body("the", 60))
        statuses.append(status)
        if status == 429:
            assert 1 <= int(headers["Retry-After"]) <= 60
            assert json.loads(text)["error"]["code"] == "queue_full"

    in_parallel(40, work)
    assert set(statuses) <= {200, 429} and statuses.count(200) >= 8 and 429 in statuses, statuses
    server.wait_idle()


def check_deep_health_behind_a_queue(server):
    """A busy server is a living one: the probe does not wait for its turn."""
    held = [open_stream(server, "the", 450, n=16) for _ in range(6)]
    until = time.monotonic() + 20
    while server.engine()["waiting"] < 20:
        assert time.monotonic() < until
    status, _, text = server.request("GET", "/health?deep=1")
    assert status == 200 and json.loads(text)["status"] == "ok", text
    assert server.engine()["waiting"] > 0, "the probe came after those that waited"
    for connection in held:
        connection.close()
    server.wait_idle()
    assert server.get("/health?deep=1")["status"] == "ok"


def descriptors(server):
    return len(list(pathlib.Path("/proc/%d/fd" % server.process.pid).iterdir()))


def check_nothing_is_held(server, before):
    """Connections that were left open are closed in their time."""
    until = time.monotonic() + 20
    while descriptors(server) > before + 2:
        assert time.monotonic() < until, (before, descriptors(server))
        time.sleep(0.2)


with Server(1, "-m", MODEL, "--max-seqs", 6, "--write-timeout", 2) as s:
    s.get("/health")
    before = descriptors(s)
    check_overlapping(s)
    check_cancel(s)
    check_slow_readers(s)
    check_deep_health_behind_a_queue(s)
    check_nothing_is_held(s, before)
    assert s.end() == 0

with Server(3, "-m", MODEL, "--max-seqs", 4, "--kv-blocks", 40, "--max-seq-len", 512, "--max-queue", 8) as s:
    check_overload(s)
    check_cancel(s)
    assert s.end() == 0
