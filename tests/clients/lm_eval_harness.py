#!/usr/bin/env python3
"""lm-eval from PyPI, unmodified, against three ranks: local-completions and local-chat-completions on the tasks of
lm_eval_tasks/, with the scores that transformers gives the same model (lm_eval_tasks/expected.json).

  lm_eval_harness.py --record    where torch and transformers are installed: records them anew
"""
import json
import os
import pathlib
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OPENAI_API_KEY="none", TOKENIZERS_PARALLELISM="false")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import MODELS, SKIPPED
from server import Server

try:
    import lm_eval
    from lm_eval.tasks import TaskManager
except ImportError:
    print("lm_eval is not installed: skipped")
    sys.exit(SKIPPED)

MODEL = MODELS / "hf/llama-9h-tied"
TASKS = pathlib.Path(__file__).with_name("lm_eval_tasks")
SYSTEM = "Be brief."
TOLERANCE = 2e-3      # of log-probabilities: sums of a few tokens


def evaluate(model, arguments, tasks, **more):
    """Scores by task, and what was found for each document."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HF_DATASETS_CACHE"] = cache
        os.chdir(TASKS)  # data_files of the tasks are named from here
        found = lm_eval.simple_evaluate(model=model, model_args=arguments, tasks=list(tasks), log_samples=True, bootstrap_iters=0,
                                        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False), **more)
    scores = {task: {name.split(",")[0]: value for name, value in found["results"][task].items()
                     if name.split(",")[0] in ("acc", "acc_norm", "exact_match", "word_perplexity", "byte_perplexity")}
              for task in tasks}
    answers = {task: [sample["filtered_resps"] for sample in sorted(found["samples"][task], key=lambda s: s["doc_id"])]
               for task in tasks}
    return scores, answers


PLAIN = ("dinfer_choices", "dinfer_perplexity", "dinfer_texts")
CHAT = ("dinfer_texts",)


def record():
    hf = {"pretrained": str(MODEL), "dtype": "float32", "device": "cpu"}
    plain = evaluate("hf", hf, PLAIN)
    chat = evaluate("hf", hf, CHAT, apply_chat_template=True, system_instruction=SYSTEM)
    (TASKS / "expected.json").write_text(json.dumps({"plain": plain, "chat": chat}, indent=1) + "\n")


def close(mine, theirs):
    """Numbers within the tolerance; all else equal."""
    if isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(close, mine, theirs))
    if isinstance(theirs, bool) or not isinstance(theirs, float):
        return mine == theirs
    return abs(mine - theirs) <= TOLERANCE * max(1, abs(theirs))


def check(found, expected, what):
    (scores, answers), (wanted_scores, wanted_answers) = found, expected
    for task, wanted in wanted_scores.items():
        print(what, task, scores[task], "transformers:", wanted, flush=True)
        for name, value in wanted.items():
            assert close(float(scores[task][name]), float(value)), (task, name, scores[task][name], value)
        for mine, theirs in zip(json.loads(json.dumps(answers[task])), wanted_answers[task]):
            assert close(mine, theirs), (task, mine, theirs)


def main():
    expected = json.loads((TASKS / "expected.json").read_text())
    with Server(3, "-m", MODEL, "--cpu-math", "f32") as server:
        base = "http://127.0.0.1:%d" % server.port
        common = {"model": MODEL.name, "num_concurrent": 4, "max_retries": 1, "max_length": 512}
        found = evaluate("local-completions", {**common, "base_url": base + "/v1/completions"}, PLAIN)
        check(found, expected["plain"], "local-completions")
        batched = evaluate("local-completions", {**common, "num_concurrent": 1, "batch_size": 8,
                                                 "base_url": base + "/v1/completions"}, ("dinfer_choices",))
        check(batched, [{t: s[t] for t in ("dinfer_choices",)} for s in expected["plain"]], "batches")
        found = evaluate("local-chat-completions", {**common, "base_url": base + "/v1/chat/completions"}, CHAT,
                         apply_chat_template=True, system_instruction=SYSTEM)
        check(found, expected["chat"], "local-chat-completions")
        server.wait_idle()
        assert server.end() == 0


record() if "--record" in sys.argv else main()
