"""Runs the dinfer binary, alone or as several ranks, for the tests that look at it from outside."""
import functools
import json
import os
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("DINFER_BINARY", str(SOURCE / "build/release/dinfer"))
MODELS = SOURCE / "tests/golden/models"

MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",  # containers refuse process_vm_readv
}


SKIPPED = 77


@functools.cache
def has_mpi():
    build = subprocess.run([BINARY, "--version", "--json"], capture_output=True, text=True, check=True)
    return json.loads(build.stdout)["mpi"] is not None


def needs_mpi():
    """Ends the test where the binary has none."""
    if not has_mpi():
        print("a build without MPI: skipped")
        sys.exit(SKIPPED)


def command(ranks, *arguments):
    """Under mpirun; by its own supervisor where the binary has no MPI."""
    if ranks == 1:
        return [BINARY, *map(str, arguments)]
    launcher, several = (["mpirun", "-np", str(ranks)], []) if has_mpi() else ([], ["--tp", str(ranks)])
    return [*launcher, BINARY, *map(str, arguments), *several]


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
