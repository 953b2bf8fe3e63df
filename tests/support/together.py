"""Threads whose errors are the test's."""
import threading


class Together:
    """Runs each of `works` in a thread of its own."""

    def __init__(self, works):
        self.errors = []
        self.threads = [threading.Thread(target=self.guarded, args=(work,)) for work in works]
        for thread in self.threads:
            thread.start()

    def guarded(self, work):
        try:
            work()
        except BaseException as error:  # told to the main thread
            self.errors.append(error)

    def running(self):
        return any(thread.is_alive() for thread in self.threads)

    def end(self):
        """Waits for all, and raises the first error."""
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
