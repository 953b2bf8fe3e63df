#!/usr/bin/env python3
"""The chat as a user at a terminal sees it."""
import os
import pathlib
import pty
import select
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from dinfer import BINARY, MODELS


class Terminal:
    def __init__(self, *arguments):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(BINARY, [BINARY, *map(str, arguments)])
        self.seen = ""

    def read_until(self, text, seconds=60):
        """What comes up to and including `text`."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, "%r did not come; there was\n%s" % (text, self.seen)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # the other side has closed
                    assert text in self.seen, "ended without %r:\n%s" % (text, self.seen)
        before, self.seen = self.seen.split(text, 1)
        return before + text

    def type(self, text):
        os.write(self.fd, text.encode())

    def exit_code(self):
        status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(status)


def main():
    chat = Terminal("run", "-m", MODELS / "hf/llama-4h", "--cpu", "--max-tokens", 5, "--temperature", 0, "--ignore-eos")
    chat.read_until("> ")
    chat.type("/help\n")
    assert "/reset" in chat.read_until("/quit")
    chat.read_until("> ")
    chat.type("/stats\n")
    chat.read_until("no answer yet")
    chat.type("hello there\n")
    chat.read_until("> ")
    chat.type("/stats\n")
    chat.read_until("5 tokens")
    chat.type("/set temperature nonsense\n")
    chat.read_until("temperature: must be")
    chat.type("/set max-tokens 3\n")
    chat.type("again\n")
    chat.type("/stats\n")
    chat.read_until("3 tokens")
    chat.type("/nonsense\n")
    chat.read_until("/nonsense: unknown")

    # An interrupt stops the answer, not the chat; nor does one that comes too late.
    chat.type("/set max-tokens 100000\n")
    chat.type("/reset\n")
    chat.type("go on\n")
    chat.read_until("go on")
    os.kill(chat.pid, signal.SIGINT)
    chat.type("/set max-tokens 2\n/reset\nstill there\n/stats\n")
    chat.read_until("2 tokens")
    chat.type("/quit\n")
    assert chat.exit_code() == 0


main()
