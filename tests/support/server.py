"""Starts `dinfer serve` and talks to it, for the tests that look at it from outside."""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

from dinfer import MPI_ENVIRONMENT, command

LONG = {"prompt": "the", "max_tokens": 450, "temperature": 0, "ignore_eos": True}


class Server:
    """A running server: `port`, `process`, its log so far in `log`."""

    def __init__(self, ranks, *arguments, ready=True, environment=None, cpu=True, port=0, prefix=()):
        self.ranks = ranks
        self.process = subprocess.Popen(
            [*prefix, *command(ranks, "serve", *(["--cpu"] if cpu else []), "--port", str(port), *arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **MPI_ENVIRONMENT, **(environment or {})})
        self.log = []
        self.port = None
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if ready and not (self._ready.wait(60) and self.port):
            self.process.kill()
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"ready: https?://\S+:(\d+) in", line)
            if found:
                self.port = int(found[1])
                self._ready.set()
        self._ready.set()

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, text)"""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None
            sent = dict(headers or {})
            if body is not None:
                data = body if isinstance(body, (bytes, str)) else json.dumps(body)
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()
        finally:
            connection.close()

    def get(self, path, **more):
        status, _, text = self.request("GET", path, **more)
        assert status == 200, (path, status, text)
        return json.loads(text)

    def post(self, path, body, **more):
        status, _, text = self.request("POST", path, body, **more)
        assert status == 200, (path, status, text)
        return json.loads(text)

    def stream(self, path, body, timeout=60):
        """The objects of a stream's events; fails unless it ends with [DONE]."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}),
                               {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            assert response.getheader("Content-Type") == "text/event-stream"
            events = [e for e in response.read().decode().split("\n\n") if e and not e.startswith(":")]
        finally:
            connection.close()
        assert all(e.startswith("data: ") for e in events), events
        assert events[-1] == "data: [DONE]", events[-1]
        return [json.loads(e[6:]) for e in events[:-1]]

    def raw(self, data, timeout=15):
        """What comes back on one connection for these bytes, until the server closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    received += piece
            return received

    def engine(self):
        return self.get("/v1/dinfer/status")["engine"]

    def wait_idle(self, seconds=30):
        until = time.monotonic() + seconds
        while True:
            engine = self.engine()
            if engine["running"] == 0 and engine["waiting"] == 0:
                assert engine["kv_blocks_free"] == engine["kv_blocks"], engine
                return engine
            assert time.monotonic() < until, engine
            time.sleep(0.05)

    def end(self, number=None, timeout=40):
        """Sends the signal and returns the exit code. SIGTERM to mpirun would leave the ranks one second."""
        self.process.send_signal(number or (signal.SIGTERM if self.ranks == 1 else signal.SIGUSR1))
        return self.wait(timeout)

    def wait(self, timeout=40):
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not end:\n" + "".join(self.log))
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if value is not None:
            print("".join(self.log)[-5000:])


class Stream(threading.Thread):
    """A streamed completion on a thread: its `text` as received, whole once joined."""

    def __init__(self, server, **more):
        super().__init__(daemon=True)
        self.server, self.more, self.text, self.began, self.ended = server, more, "", threading.Event(), 0
        self.start()
        assert self.began.wait(20)

    def run(self):
        data = json.dumps({**LONG, "stream": True, **self.more}).encode()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as self.connection:
            self.connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                    b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            try:
                while piece := self.connection.recv(65536):
                    self.text += piece.decode()
                    if "data: " in self.text:
                        self.began.set()
            except OSError:
                pass
        self.ended = time.monotonic()
        self.began.set()

    def leave(self):
        """The client goes away before the end."""
        self.connection.shutdown(socket.SHUT_RDWR)
        self.join(10)


@contextlib.contextmanager
def in_background(server, body, clients=4):
    """Clients that ask for this completion again and again meanwhile; what they get does not matter."""
    done = threading.Event()

    def ask():
        while not done.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                server.request("POST", "/v1/completions", body)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
