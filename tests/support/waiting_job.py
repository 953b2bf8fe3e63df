"""Jobs that wait for requests or work on them until something happens to their ranks."""
import json
import pathlib
import subprocess
import threading
import time

from dinfer import BINARY, MODELS
from process_facts import children
from tcp_jobs import environment

MODEL = MODELS / "hf/qwen3-sharded"
SCORE = [BINARY, "score", "-m", str(MODEL), "--cpu", "--threads", "1", "--start-timeout", "20"]


class Job:
    """A job that waits for its next request; node 0 is the head's."""

    def __init__(self, nodes, *arguments, launcher=(), log=None):
        """`log`: a file for what the head's node says on stderr, past a launcher, which would hold it back."""
        line = [*SCORE, *map(str, arguments)]
        if log:
            log.write_text("")
            line = ["sh", "-c", 'log=$1; shift; exec "$@" 2>> "$log"', "sh", str(log), *line]
        self.nodes = [subprocess.Popen([*launcher, *(line if i == 0 else line[-len(SCORE) - len(arguments):])],
                                       env=environment(**variables), text=True,
                                       stdin=subprocess.PIPE if i == 0 else subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                      for i, variables in enumerate(nodes)]
        self.ask()

    def ask(self):
        self.nodes[0].stdin.write(json.dumps({"tokens": [1, 2, 3]}) + "\n")
        self.nodes[0].stdin.flush()
        assert self.nodes[0].stdout.readline(), self.nodes[0].communicate()[1]

    def work(self, lines=20000):
        """Gives the job more than it can do soon."""
        def feed(stdin=self.nodes[0].stdin):
            try:
                for _ in range(lines):
                    stdin.write(json.dumps({"tokens": list(range(1, 200))}) + "\n")
            except (OSError, ValueError):
                pass
        threading.Thread(target=feed, daemon=True).start()
        threading.Thread(target=lambda stdout=self.nodes[0].stdout: [None for _ in stdout], daemon=True).start()
        time.sleep(0.4)

    def rank_processes(self, node=0):
        """The children of a node's supervisor or of mpirun, by rank."""
        return children(self.nodes[node].pid)

    def results(self, timeout=30):
        ends = []
        try:
            for node in self.nodes:
                if node.stdin and node.poll() is not None:
                    node.stdin = None  # a head that is gone reads nothing
                out, err = node.communicate(timeout=timeout)
                ends.append((node.returncode, err))
        finally:
            for node in self.nodes:
                if node.poll() is None:
                    node.kill()
        return ends


def wait_for_word(job, node, word, within):
    began = time.monotonic()
    text = ""
    while word not in text:
        line = job.nodes[node].stderr.readline()
        assert line, text
        text += line
    took = time.monotonic() - began
    assert took < within, "%r came after %.1f s" % (word, took)
    return took, text


def no_processes_left(pids):
    end = time.monotonic() + 5
    while any(pathlib.Path("/proc/%d" % pid).exists() for pid in pids):
        assert time.monotonic() < end, "a rank outlived its job"
        time.sleep(0.05)
