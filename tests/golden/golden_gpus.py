#!/usr/bin/env python3
"""Holds all reference models against their golden results on this machine's GPUs: golden.py for
each, several at a time. Exits with 77 (skipped) where dinfer sees no GPU."""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from dinfer import MODELS, must_run

MOST_RANKS = 4
AT_A_TIME = 8


def check(arguments):
    process = subprocess.run([sys.executable, str(HERE / "golden.py"), *map(str, arguments)],
                             capture_output=True, text=True, timeout=300)
    return process.returncode, process.stdout + process.stderr[-1000:]


def main():
    build = json.loads(must_run(1, "--version", "--json"))
    gpus = len((build["cuda"] or {}).get("gpus", []))
    if gpus == 0:
        print("no GPU: skipped")
        sys.exit(77)
    os.environ["GOLDEN_GPUS"] = str(min(gpus, MOST_RANKS))
    models = [[folder] for kind in ("hf", "quant") for folder in sorted((MODELS / kind).iterdir())]
    models += [[form.parent, form.name] for form in sorted((MODELS / "gguf").glob("*/*.gguf"))]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        for code, text in pool.map(check, models):
            print(text, end="")
            failed += code != 0
    sys.exit("%d of %d models differ" % (failed, len(models)) if failed else 0)


if __name__ == "__main__":
    main()
