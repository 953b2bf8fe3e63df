#!/usr/bin/env python3
"""How a server starts and ends: addresses, keys, TLS, drain."""
import http.client
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, command, run
from server import LONG, Server, Stream

MODEL = MODELS / "hf/llama-9h-tied"


def check_addresses():
    with Server(1, "-m", MODEL) as server:
        assert any("loopback only" in line and "ssh -N -L %d:127.0.0.1:%d" % (server.port, server.port) in line
                   for line in server.log)
        for ranks in (1, 3):
            taken = run(ranks, "serve", "-m", MODEL, "--cpu", "--port", server.port)
            assert taken.returncode == 9 and str(server.port) in taken.stderr, taken.stderr
        assert server.end(signal.SIGINT) == 0
    exposed = run(1, "serve", "-m", MODEL, "--cpu", "--host", "0.0.0.0", "--port", 0)
    assert exposed.returncode == 2 and "--api-key-file" in exposed.stderr, exposed.stderr
    assert run(1, "serve", "-m", MODEL, "--cpu", "--host", "192.0.2.1", "--port", 0).returncode == 2


def check_keys():
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder, "keys")
        keys.write_text("# ours\nsecret-canary-1\nsecret-canary-2\n")
        keys.chmod(0o600)
        endpoint = pathlib.Path(folder, "endpoint.json")
        with Server(1, "-m", MODEL, "--api-key-file", keys, "--endpoint-file", endpoint, "--allowed-host", "gpu1") as server:
            told = json.loads(endpoint.read_text())
            assert told["port"] == server.port and told["pid"] == server.process.pid and "job" in told
            good = {"Authorization": "Bearer secret-canary-2"}
            for method, path, open_ in (("GET", "/", True), ("GET", "/livez", True), ("GET", "/readyz", True),
                                        ("GET", "/health", True), ("GET", "/health?deep=1", False), ("GET", "/version", False),
                                        ("GET", "/metrics", False), ("GET", "/v1/dinfer/status", False),
                                        ("GET", "/v1/models", False), ("GET", "/tokenizer_info", False),
                                        ("POST", "/tokenize", False), ("POST", "/detokenize", False),
                                        ("POST", "/v1/chat/completions", False), ("POST", "/v1/completions", False),
                                        ("POST", "/v1/responses", False)):
                body = {"prompt": "canary-prompt", "tokens": [1], "max_tokens": 1} if method == "POST" else None
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret-canary-1"}):
                    assert (server.request(method, path, body, headers)[0] == 401) != open_, (path, headers)
                assert server.request(method, path, body, good)[0] != 401, path
            assert server.request("GET", "/health", headers={"Host": "gpu1:80"})[0] == 200
            assert server.request("GET", "/health", headers={"Host": "evil.example"})[0] == 403
            assert server.end() == 0
            assert not endpoint.exists()
            assert "canary" not in "".join(server.log)


def check_tls():
    with tempfile.TemporaryDirectory() as folder:
        cert, key, other = (pathlib.Path(folder, name) for name in ("cert.pem", "key.pem", "other.pem"))
        for made, with_cert in ((key, ("-x509", "-out", cert)), (other, ("-x509", "-out", pathlib.Path(folder, "unused")))):
            subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", made, *with_cert], check=True, capture_output=True)
        for files, named in (((cert, other), "--tls-key"), ((folder, key), "--tls-cert"), ((cert, folder + "/none"), "--tls-key")):
            refused = run(1, "serve", "-m", MODEL, "--cpu", "--port", 0, "--tls-cert", files[0], "--tls-key", files[1])
            assert refused.returncode == 2 and named in refused.stderr, refused.stderr
        assert run(1, "serve", "-m", MODEL, "--cpu", "--port", 0, "--tls-cert", cert).returncode == 2
        with Server(3, "-m", MODEL, "--tls-cert", cert, "--tls-key", key) as server:
            trusted = ssl.create_default_context(cafile=cert)
            plain = server.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" not in plain, plain
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=trusted)
            for _ in range(2):  # on one connection
                connection.request("POST", "/v1/completions", json.dumps({"prompt": "the", "max_tokens": 5, "ignore_eos": True}),
                                   {"Content-Type": "application/json"})
                assert json.loads(connection.getresponse().read())["usage"]["completion_tokens"] == 5
            connection.request("POST", "/v1/completions", json.dumps({**LONG, "stream": True}), {"Content-Type": "application/json"})
            assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")

            def engine():
                connection.request("GET", "/v1/dinfer/status")
                return json.loads(connection.getresponse().read())["engine"]

            # A body that is too large is read on, so that its sender finds the answer.
            large = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=trusted)
            large.request("POST", "/v1/completions", b" " * (12 << 20), {"Content-Type": "application/json"})
            assert large.getresponse().status == 413
            large.close()

            # A client that leaves takes its sequences with it.
            leaving = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=trusted)
            leaving.request("POST", "/v1/completions", json.dumps({**LONG, "n": 8, "stream": True}),
                            {"Content-Type": "application/json"})
            began = time.monotonic()
            leaving.getresponse().read(100)
            leaving.close()
            while engine()["running"]:
                assert time.monotonic() - began < 10
                time.sleep(0.05)
            assert server.end() == 0


def check_drain():
    for ranks, number in ((1, signal.SIGTERM), (1, signal.SIGUSR1), (3, signal.SIGUSR1)):
        # One sequence after the other: the drain lasts long enough to look at.
        with Server(ranks, "-m", MODEL, "--max-seqs", 1) as server:
            stream = Stream(server, n=4)
            server.process.send_signal(number)
            until = time.monotonic() + 20
            while server.request("GET", "/readyz")[0] != 503:
                assert time.monotonic() < until and stream.is_alive(), "the server does not drain"
            status, headers, text = server.request("POST", "/v1/completions", LONG)
            assert status == 503 and int(headers["Retry-After"]) > 0, (status, text)
            assert server.request("GET", "/livez")[0] == 200
            assert server.wait() == 0, "".join(server.log)
            stream.join(20)
            assert stream.text.rstrip().endswith("0") and "data: [DONE]" in stream.text
            assert stream.text.count('"finish_reason":"length"') == 4


def check_cut_drain():
    with Server(1, "-m", MODEL, "--max-seqs", 1, "--drain-timeout", 0.2) as server:
        streams = [Stream(server)] + [threading.Thread(target=lambda: server.request("POST", "/v1/completions", LONG))
                                      for _ in range(3)]
        for thread in streams[1:]:
            thread.start()
        time.sleep(0.1)
        assert server.end() in (0, 143)
        streams[0].join(20)
        assert "data: [DONE]" in streams[0].text


def check_lost_log():
    """`dinfer serve 2>&1 | head`: the end of who reads the log is not the end of the server."""
    for layout in ([], ["--pp", "2"]):
        with tempfile.TemporaryDirectory() as folder:
            endpoint = pathlib.Path(folder) / "endpoint"
            process = subprocess.Popen(command(1, "serve", "--cpu", "-m", MODEL, "--port", 0, "--endpoint-file", endpoint, *layout),
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            process.stderr.readline()
            process.stderr.close()
            until = time.monotonic() + 30
            while not endpoint.exists():
                assert process.poll() is None and time.monotonic() < until, process.returncode
                time.sleep(0.05)
            url = json.loads(endpoint.read_text())["url"]
            for _ in range(3):
                asked = urllib.request.Request(url + "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 2}).encode(),
                                               {"Content-Type": "application/json"})
                assert urllib.request.urlopen(asked, timeout=30).status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def check_drain_waits_for_readers():
    """What was computed is delivered, also to those who read later than it was written; a second signal does not wait."""
    for second in (False, True):
        with Server(1, "-m", MODEL, "--pp", 2, "--stall-timeout", 1) as server:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.settimeout(30)
            body = json.dumps({**LONG, "stream": True, "n": 8}).encode()
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               b"Content-Length: %d\r\n\r\n" % len(body) + body)
            received = connection.recv(100)
            server.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 20
            while server.engine()["running"] > 0:
                assert time.monotonic() < until
                time.sleep(0.05)
            time.sleep(1.5)  # longer than an end waits for answers, and than ranks bear silence
            assert server.request("GET", "/readyz")[0] == 503
            if second:
                began = time.monotonic()
                assert server.end() == 143 and time.monotonic() - began < 5
                continue
            while b"data: [DONE]" not in received[-200:] and (piece := connection.recv(1 << 20)):
                received += piece
            assert received.count(b'"finish_reason":"length"') == 8 and b"data: [DONE]" in received[-200:], received[-200:]
            assert server.wait() == 0, "".join(server.log)


check_addresses()
check_keys()
check_tls()
check_lost_log()
check_drain()
check_drain_waits_for_readers()
check_cut_drain()
