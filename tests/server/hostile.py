#!/usr/bin/env python3
"""Hostile and unusual HTTP: refused by name, and without harm to others."""
import json
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS
from server import Server

MODEL = MODELS / "hf/qwen2-tied"
BODY = json.dumps({"prompt": "a", "max_tokens": 2}).encode()


def head(fields=b"", line=b"POST /v1/completions HTTP/1.1", host=b"Host: localhost\r\n"):
    return line + b"\r\n" + host + fields + b"\r\n"


JSON = b"Content-Type: application/json\r\n"


def status(data):
    return int(data.split(b" ", 2)[1]) if data else None


def check_probes(server):
    length = b"Content-Length: %d\r\n" % len(BODY)
    chunked = b"Transfer-Encoding: chunked\r\n"
    for name, data, wanted in [
        ("two equal lengths", head(JSON + length + length) + BODY, 400),
        ("a list of lengths", head(JSON + b"Content-Length: 3, 3\r\n") + b"abc", 400),
        ("length and chunks", head(JSON + length + chunked) + BODY, 400),
        ("chunks and length", head(JSON + chunked + length) + BODY, 400),
        ("unknown coding", head(JSON + b"Transfer-Encoding: xchunked\r\n") + b"0\r\n\r\n", 501),
        ("two codings", head(JSON + b"Transfer-Encoding: gzip, chunked\r\n"), 501),
        ("folded line", head(JSON + b"X: 1\r\n y\r\n"), 400),
        ("no host", head(host=b""), 400),
        ("two hosts", head(host=b"Host: a\r\nHost: a\r\n"), 400),
        ("lower-case method", head(line=b"post / HTTP/1.1"), 400),
        ("bytes in the target", head(line=b"GET /\xff HTTP/1.1"), 400),
        ("HTTP/1.2", head(line=b"GET / HTTP/1.2"), 505),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        ("many fields", head(b"".join(b"X-%d: 1\r\n" % i for i in range(1000))), 431),
        ("a long head", head(b"X: " + b"a" * 20000 + b"\r\n"), 431),
        ("a long target", head(line=b"GET /" + b"a" * 5000 + b" HTTP/1.1"), 414),
        ("a broken escape", head(line=b"GET /%zz HTTP/1.1"), 400),
        ("a NUL escape", head(line=b"GET /%00 HTTP/1.1"), 400),
        ("a huge length", head(JSON + b"Content-Length: 99999999999\r\n"), 413),
        ("an overflowing length", head(JSON + b"Content-Length: 18446744073709551616\r\n"), 400),
        ("a bad chunk size", head(JSON + chunked) + b"zz\r\nab\r\n0\r\n\r\n", 400),
        ("an overflowing chunk size", head(JSON + chunked) + b"fffffffffffffffff\r\n", 400),
        ("an unknown expectation", head(JSON + length + b"Expect: 200-ok\r\n"), 417),
        ("another host", head(line=b"GET /health HTTP/1.1", host=b"Host: evil.example\r\nConnection: close\r\n"), 403),
    ]:
        received = server.raw(data)
        assert status(received) == wanted, (name, received[:300])
        assert b'"error"' in received and (wanted != 413 or b"more than the 8388608 bytes" in received), (name, received[:300])


def check_good_forms(server):
    length = b"Content-Length: %d\r\nConnection: close\r\n" % len(BODY)
    assert status(server.raw(head(JSON + length) + BODY)) == 200
    sent = server.raw(head(JSON + b"Transfer-Encoding: chunked\r\nConnection: close\r\n")
                      + b"5;ext=1\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:]))
    assert status(sent) == 200, sent
    expects = server.raw(head(JSON + length + b"Expect: 100-continue\r\n") + BODY)
    assert expects.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), expects
    old = server.raw(b"GET /health HTTP/1.0\r\n\r\n")
    assert status(old) == 200 and b"Connection: close" in old, old
    heads = server.raw(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert status(heads) == 200 and heads.endswith(b"\r\n\r\n"), heads


def check_keep_alive(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while b'"ok"' not in received:
                received += connection.recv(4096)
            assert b"Connection: keep-alive" in received


def check_slow_heads_are_cut(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        began = time.monotonic()
        received = b""
        try:
            for byte in b"GET /health HTTP/1.1\r\n" * 10:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
            received = connection.recv(4096)
        except OSError:
            pass
        assert time.monotonic() - began < 6 and b"200" not in received
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        began = time.monotonic()
        assert connection.recv(4096) == b"" and time.monotonic() - began < 5, "an idle connection is closed"


def check_connections_are_limited(server):
    held = []
    try:
        for _ in range(12):
            held.append(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        held[-1].settimeout(20)
        assert b"503" in held[-1].recv(4096)
        # Whoever asks at once gets the answer, too: it is not lost with what they have sent.
        for _ in range(20):
            status, headers, text = server.request("POST", "/v1/completions", {"prompt": "a" * 30000, "max_tokens": 1})
            assert status == 503 and int(headers["Retry-After"]) > 0 and "--max-connections" in text, (status, headers, text)
    finally:
        for connection in held:
            connection.close()
    until = time.monotonic() + 20
    while server.request("GET", "/health")[0] == 503:
        assert time.monotonic() < until, "connections that were closed still count"
        time.sleep(0.1)
    server.get("/health")


def check_bad_json(server):
    post = lambda data, **more: server.request("POST", "/v1/completions", data, **more)
    for data in (b"", b"null", b"[]", b"{", b'"x"', b"{}x", b"\xff", b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}',
                 b'{"a": ' * 100 + b"1" + b"}" * 100, b"[" * 100000, b'{"prompt": [' + b"0," * 300000 + b"0]}",
                 b'{"prompt": "a", "prompt": "b"}', b'{"prompt": "a", "temperature": 1e400}',
                 b'\xef\xbb\xbf[]', b'{"prompt": "a", "temperature": NaN}'):
        code, _, text = post(data, headers={"Content-Type": "application/json"})
        assert code == 400, (data[:60], code, text[:300])
        error = json.loads(text)["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error", error
    # Clients that send all of it before they read find the answer, too.
    assert post(b'{"prompt": "%s"}' % (b"a" * (12 << 20)), headers={"Content-Type": "application/json"})[0] == 413
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert post(BODY, headers={"Content-Type": kind})[0] == 415
    assert post(BODY, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})[0] == 415
    assert server.request("GET", "/v1/completions")[0] == 405
    assert server.request("GET", "/nothing")[0] == 404
    assert server.request("POST", "/v1/embeddings", {})[0] == 404


with Server(1, "-m", MODEL, "--header-timeout", 2, "--idle-timeout", 2, "--max-connections-per-address", 10) as s:
    check_good_forms(s)
    check_probes(s)
    check_keep_alive(s)
    check_bad_json(s)
    check_slow_heads_are_cut(s)
    check_connections_are_limited(s)
    assert s.get("/health") == {"status": "ok"}
    assert s.end() == 0
