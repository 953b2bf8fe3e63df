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
        self.read_while(lambda: text not in self.seen, "%r" % text, seconds)
        before, self.seen = self.seen.split(text, 1)
        return before + text

    def read_some(self, seconds=60):
        """Waits for whatever comes next."""
        self.read_while(lambda: not self.seen, "more", seconds)

    def read_while(self, missing, what, seconds):
        end = time.monotonic() + seconds
        while missing():
            assert time.monotonic() < end, "%s did not come; there was\n%s" % (what, self.seen)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # the other side has closed
                    assert not missing(), "ended without %s:\n%s" % (what, self.seen)

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
    for line in ("/set max-tokens 100000", "/reset", "go on"):
        chat.read_until("> ")
        chat.type(line + "\n")
        chat.read_until(line + "\r\n")  # the terminal's echo
    chat.read_some()
    os.kill(chat.pid, signal.SIGINT)
    chat.type("/set max-tokens 2\n/reset\nstill there\n/stats\n")
    chat.read_until("2 tokens")
    chat.type("/quit\n")
    assert chat.exit_code() == 0


main()
