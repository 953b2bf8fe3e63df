"""Runs the dinfer binary, alone or under mpirun, for the tests that look at it from outside."""
import json
import os
import pathlib
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("DINFER_BINARY", str(SOURCE / "build/release/dinfer"))
MODELS = SOURCE / "tests/golden/models"

MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",  # containers refuse process_vm_readv
}


def command(ranks, *arguments):
    launcher = [] if ranks == 1 else ["mpirun", "-np", str(ranks)]
    return launcher + [BINARY, *map(str, arguments)]


def run(ranks, *arguments, stdin="", timeout=120, environment=None):
    """Returns the finished process; stdout and stderr as text."""
    return subprocess.run(
        command(ranks, *arguments), input=stdin, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, **MPI_ENVIRONMENT, **(environment or {})})


def must_run(ranks, *arguments, stdin="", timeout=120):
    """stdout of a run that has to succeed."""
    process = run(ranks, *arguments, stdin=stdin, timeout=timeout)
    if process.returncode != 0:
        raise AssertionError("%s\nended with %d\n%s" % (
            " ".join(command(ranks, *arguments)), process.returncode, process.stderr[-3000:]))
    return process.stdout


def json_lines(text):
    return [json.loads(line) for line in text.splitlines() if line.strip()]
