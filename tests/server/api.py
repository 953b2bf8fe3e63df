#!/usr/bin/env python3
"""The OpenAI endpoints: the same tokens as `dinfer run`, on one rank and on several; every field has its effect."""
import json
import math
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, must_run
from server import Server

MODEL = MODELS / "hf/qwen3-sharded"  # with a chat template
PROMPT = "The quick brown fox"


def complete(server, **fields):
    return server.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, **fields})


def text(answer, index=0):
    return answer["choices"][index]["text"]


def plain(usage):
    """Without what depends on earlier requests."""
    return {name: count for name, count in usage.items() if name != "prompt_tokens_details"}


def check_same_as_run(server, ranks):
    ran = json.loads(must_run(ranks, "run", "-m", MODEL, "--cpu", "--json", "--temperature", 0, "--max-tokens", 12,
                              "--raw", "-p", PROMPT))
    answer = complete(server)
    assert text(answer) == ran["text"], (text(answer), ran["text"])
    assert plain(answer["usage"]) == {"prompt_tokens": len(ran["prompt_tokens"]), "completion_tokens": len(ran["tokens"]),
                               "total_tokens": len(ran["prompt_tokens"]) + len(ran["tokens"])}
    assert answer["choices"][0]["finish_reason"] == ran["finish_reason"]
    assert answer["object"] == "text_completion" and answer["model"] == MODEL.name
    by_ids = server.post("/v1/completions", {"prompt": ran["prompt_tokens"], "max_tokens": 12, "temperature": 0})
    assert text(by_ids) == ran["text"]
    chat_ran = json.loads(must_run(ranks, "run", "-m", MODEL, "--cpu", "--json", "--temperature", 0, "--max-tokens", 12,
                                   "-p", PROMPT))
    chat = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 12,
                                                "temperature": 0})
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": chat_ran["text"]}
    assert chat["usage"]["prompt_tokens"] == len(chat_ran["prompt_tokens"])


def check_streams(server):
    whole = complete(server, max_tokens=20)
    events = server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 20, "temperature": 0,
                                               "stream_options": {"include_usage": True, "continuous_usage_stats": False}})
    assert "".join(e["choices"][0]["text"] for e in events[:-1]) == text(whole)
    assert events[-1]["choices"] == [] and plain(events[-1]["usage"]) == plain(whole["usage"])
    assert all(e["usage"] is None for e in events[:-1])
    assert [e["choices"][0]["finish_reason"] for e in events[:-1]] == [None] * (len(events) - 2) + ["length"]
    body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 15, "temperature": 0}
    whole = server.post("/v1/chat/completions", body)["choices"][0]
    events = server.stream("/v1/chat/completions", {**body, "stream_options": {"continuous_usage_stats": True}})
    assert events[0]["object"] == "chat.completion.chunk"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events) == whole["message"]["content"]
    assert all(e["usage"]["completion_tokens"] >= 1 for e in events)
    assert len({e["id"] for e in events}) == 1


def check_batches_and_choices(server):
    batch = complete(server, prompt=["One", "Two", "Three"], n=2)
    assert [c["index"] for c in batch["choices"]] == list(range(6))
    for i, prompt in enumerate(["One", "Two", "Three"]):
        alone = complete(server, prompt=prompt)
        assert text(batch, 2 * i) == text(batch, 2 * i + 1) == text(alone)
    sampled = complete(server, n=4, temperature=1.5, seed=7)
    assert len({text(sampled, i) for i in range(4)}) > 1, "choices are independent draws"
    again = complete(server, n=4, temperature=1.5, seed=7)
    assert [text(again, i) for i in range(4)] == [text(sampled, i) for i in range(4)]
    assert text(complete(server, temperature=1.5, seed=7)) == text(sampled)
    events = server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 12, "n": 4, "temperature": 1.5, "seed": 7})
    for i in range(4):
        assert "".join(e["choices"][0]["text"] for e in events if e["choices"][0]["index"] == i) == text(sampled, i)


def check_logprobs(server):
    tokens = server.post("/tokenize", {"prompt": PROMPT, "return_token_strs": True})
    answer = complete(server, echo=True, logprobs=2, max_tokens=3)
    logprobs = answer["choices"][0]["logprobs"]
    assert text(answer).startswith(PROMPT)
    assert len(logprobs["tokens"]) == tokens["count"] + 3 == len(logprobs["text_offset"])
    assert logprobs["tokens"][: tokens["count"]] == tokens["token_strs"]
    assert "".join(logprobs["tokens"]) == text(answer)
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    scored = json.loads(must_run(1, "score", "-m", MODEL, "--cpu", stdin=json.dumps({"tokens": tokens["tokens"]})))
    for mine, theirs in zip(logprobs["token_logprobs"][1:], scored["logprobs"][1:]):
        assert math.isclose(mine, theirs, abs_tol=2e-3), (mine, theirs)
    for place, top in list(enumerate(logprobs["top_logprobs"]))[tokens["count"]:]:
        assert max(top.values()) == logprobs["token_logprobs"][place], "greedy: the sampled token is the likeliest"
    only = complete(server, echo=True, max_tokens=0, logprobs=1)
    assert text(only) == PROMPT and len(only["choices"][0]["logprobs"]["tokens"]) == tokens["count"]
    of_prompt = complete(server, prompt_logprobs=2, max_tokens=2)["choices"][0]
    assert of_prompt["logprobs"] is None and of_prompt["prompt_logprobs"][0] is None
    assert len(of_prompt["prompt_logprobs"]) == tokens["count"]
    for place, own in list(enumerate(tokens["tokens"]))[1:]:
        seen = of_prompt["prompt_logprobs"][place]
        assert math.isclose(seen[str(own)]["logprob"], scored["logprobs"][place], abs_tol=2e-3)
        assert seen[str(own)]["decoded_token"] == tokens["token_strs"][place] and 2 <= len(seen) <= 3
    status, _, refused = server.request("POST", "/v1/completions", {"prompt": PROMPT, "prompt_logprobs": 1, "stream": True})
    assert status == 400 and json.loads(refused)["error"]["param"] == "prompt_logprobs"
    chat = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4,
                                                "temperature": 0, "logprobs": True, "top_logprobs": 3})
    content = chat["choices"][0]["logprobs"]["content"]
    assert len(content) == 4 and all(len(t["top_logprobs"]) == 3 for t in content)
    assert all(bytes(t["bytes"]).decode(errors="replace") == t["token"] for t in content)
    events = server.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4,
                                                    "temperature": 0, "logprobs": True, "top_logprobs": 3})
    streamed = [t for e in events if e["choices"][0]["logprobs"] for t in e["choices"][0]["logprobs"]["content"]]
    assert [t["token"] for t in streamed] == [t["token"] for t in content]
    assert all(abs(a["logprob"] - b["logprob"]) < 1e-3 for a, b in zip(streamed, content))


def check_fields(server):
    plain = complete(server, max_tokens=20)
    stop = text(plain)[5:8]
    at = text(plain).index(stop)
    stopped = complete(server, max_tokens=20, stop=stop)
    assert text(stopped) == text(plain)[:at] and stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["choices"][0]["stop_reason"] == stop
    kept = complete(server, max_tokens=20, stop=[stop, "\0"], include_stop_str_in_output=True)
    assert text(kept) == text(plain)[:at] + stop
    events = server.stream("/v1/completions", {"prompt": PROMPT, "max_tokens": 20, "temperature": 0, "stop": stop})
    assert "".join(e["choices"][0]["text"] for e in events) == text(plain)[:at]

    ran = json.loads(must_run(1, "run", "-m", MODEL, "--cpu", "--json", "--temperature", 0, "--max-tokens", 1, "--raw",
                              "-p", PROMPT))
    first_id = ran["tokens"][0]
    ended = complete(server, stop_token_ids=[first_id])
    assert text(ended) == "" and ended["choices"][0]["stop_reason"] == first_id, ended
    assert ended["usage"]["completion_tokens"] == 1
    held = complete(server, stop_token_ids=[first_id], min_tokens=5)
    assert held["usage"]["completion_tokens"] >= 5
    biased = complete(server, logit_bias={str(first_id): -100}, max_tokens=1)
    assert text(biased) != ran["text"]
    forced = complete(server, logit_bias={"40": 100}, max_tokens=5, ignore_eos=True)
    assert text(forced) == server.post("/detokenize", {"tokens": [40] * 5})["prompt"]
    # -2 to 2 cannot outweigh a bias of 100, a repetition penalty of 1000 can.
    mixed = complete(server, logit_bias={"40": 4}, repetition_penalty=1000.0, max_tokens=5, ignore_eos=True)
    assert text(mixed) != text(forced)

    status, headers, body = server.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1, "user": "u", "odd": 1})
    assert status == 200 and headers["X-Dinfer-Ignored"] == "user,odd"
    for field, value in (("tools", [{}]), ("response_format", {"type": "xml"}), ("guided_json", {}),
                         ("temperature", -1), ("n", 1000000), ("logit_bias", {"99999999": 1}), ("stop", [""])):
        status, _, body = server.request("POST", "/v1/completions", {"prompt": "a", field: value})
        error = json.loads(body)["error"]
        assert status == 400 and error["param"].startswith(field) and field in error["message"], body
    status, _, body = server.request("POST", "/v1/completions", {"prompt": "a " * 100000})
    assert status == 400 and json.loads(body)["error"]["code"] == "context_length_exceeded", body
    status, _, body = server.request("POST", "/v1/completions", {"prompt": "a", "model": "gpt-4"})
    assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"
    status, _, body = server.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 100000, "ignore_eos": True,
                                                                 "timeout": 0.05})
    assert status == 408 or json.loads(body)["choices"][0]["finish_reason"] == "length", body


def check_special_text_in_messages(server):
    """A user who writes special tokens gets their letters, not the tokens."""
    ids = lambda content: server.post("/tokenize", {"messages": [{"role": "user", "content": content}]})["tokens"]
    marker = server.post("/tokenize", {"prompt": "<|im_end|>"})["tokens"]
    assert len(marker) == 1
    assert ids("a<|im_end|>b").count(marker[0]) == ids("ab").count(marker[0])


def check_others(server, ranks):
    models = server.get("/v1/models")
    assert models["object"] == "list" and models["data"][0]["id"] == MODEL.name
    assert server.get("/v1/models/" + MODEL.name)["max_model_len"] > 0
    assert server.request("GET", "/v1/models/other")[0] == 404
    assert server.get("/health") == {"status": "ok"} and server.get("/livez")["status"] == "alive"
    deep = server.get("/readyz?deep=1")
    assert deep["status"] == "ok" and deep["ranks"] == ranks
    assert server.get("/version")["version"]
    info = server.get("/tokenizer_info")
    assert "eos_token" in info and "chat_template" in info
    assert server.post("/detokenize", {"tokens": server.post("/tokenize", {"prompt": "Größe 日本"})["tokens"]})["prompt"] == "Größe 日本"
    status = server.get("/v1/dinfer/status")
    assert status["state"] == "ready" and status["ranks"] == ranks
    _, headers, page = server.request("GET", "/")
    assert "<title>dinfer</title>" in page and "script-src 'sha256-" in headers["Content-Security-Policy"]
    _, headers, _ = server.request("GET", "/health", headers={"X-Request-Id": "my-id.1"})
    assert headers["X-Request-Id"] == "my-id.1"


def check_metrics(server):
    _, headers, page = server.request("GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {line.split("{")[0] for line in page.splitlines() if line and not line.startswith("#")}
    for name in ("dinfer_steps_total", "vllm:num_requests_running", "vllm:num_requests_waiting",
                 "vllm:kv_cache_usage_perc", "vllm:generation_tokens_total", "vllm:prompt_tokens_total",
                 "vllm:time_to_first_token_seconds_bucket", "vllm:inter_token_latency_seconds_count",
                 "vllm:e2e_request_latency_seconds_sum", "vllm:request_success_total"):
        assert name in names, name
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError:
        return
    assert len(list(text_string_to_metric_families(page))) > 20


for ranks in (1, 2, 4):
    with Server(ranks, "-m", MODEL) as s:
        check_same_as_run(s, ranks)
        check_streams(s)
        check_batches_and_choices(s)
        check_logprobs(s)
        check_fields(s)
        check_special_text_in_messages(s)
        check_others(s, ranks)
        check_metrics(s)
        s.wait_idle()
        assert s.end() == 0
