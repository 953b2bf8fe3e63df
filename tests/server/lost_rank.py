#!/usr/bin/env python3
"""A rank is killed during 100 streams: every client is told within a second, the job ends, and the next start serves."""
import json
import os
import pathlib
import selectors
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS
from server import Server

MODEL = MODELS / "hf/llama-9h-tied"
STREAMS = 100
WITHIN = 1.0  # seconds


class Streams:
    """Streams of one thread, so that what is measured is not this process's own scheduling."""

    def __init__(self, port):
        self.selector = selectors.DefaultSelector()
        self.text, self.ended = {}, {}
        data = json.dumps({"prompt": "the", "max_tokens": 480, "temperature": 0, "ignore_eos": True, "stream": True}).encode()
        for i in range(STREAMS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            connection.setblocking(False)
            self.text[i] = b""
            self.selector.register(connection, selectors.EVENT_READ, i)

    def read(self, done, seconds):
        """Until done() or so many seconds later."""
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            for key, _ in self.selector.select(0.02):
                try:
                    piece = key.fileobj.recv(1 << 16)
                except ConnectionResetError:
                    piece = b""
                self.text[key.data] += piece
                if not piece:
                    self.ended[key.data] = time.monotonic()
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
        assert done(), (len(self.ended), sum(b"data: " in text for text in self.text.values()))


def check_killed(rank):
    with Server(3, "-m", MODEL, "--max-seqs", STREAMS) as server:
        port = server.port
        server.post("/v1/completions", {"prompt": "the", "max_tokens": 1})
        victim = server.get("/v1/dinfer/status")["rank_table"]["rows"][rank]["pid"]
        streams = Streams(port)
        streams.read(lambda: all(b"data: " in text for text in streams.text.values()), 30)
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        streams.read(lambda: len(streams.ended) == STREAMS, 15)
        told = 0
        for i, text in streams.text.items():
            if streams.ended[i] < began or b'"finish_reason":"length"' in text:
                continue  # it had ended before
            assert b'data: {"error"' in text and b"rank %d" % rank in text and b"data: [DONE]" in text, text[-500:]
            assert streams.ended[i] - began < WITHIN, streams.ended[i] - began
            told += 1
        assert told > STREAMS // 2, told
        assert server.wait() != 0
    with Server(3, "-m", MODEL, port=port) as server:
        assert server.port == port
        server.post("/v1/completions", {"prompt": "the", "max_tokens": 4})
        assert server.end() == 0
    print("rank %d: %d clients were told, the last one after %.2f s" % (rank, told, max(streams.ended.values()) - began))


for rank in (1, 2):
    check_killed(rank)
