"""What the benchmarks of the server share: a load on it, and what its process holds."""
import json
import pathlib
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SOURCE / "tests/support"), str(SOURCE / "tests/parallel")]


def run_load(program, port, prefix=(), timeout=600, **options):
    """The result of benchmark_server_load with these options."""
    command = [*prefix, program, "--port", port]
    for name, value in options.items():
        command += ["--" + name.replace("_", "-"), value]
    process = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout)
    if process.returncode:
        sys.exit("the load program ended with %d: %s" % (process.returncode, process.stderr))
    return json.loads(process.stdout)


def peak_memory_mib(pid):
    status = pathlib.Path("/proc/%d/status" % pid).read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
