"""A running guest with a shell on its serial console, driven as a person would: wait for the prompt, type, read."""
import os
import re
import select
import signal
import subprocess
import time

PROMPT = b"# "
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
SCALE = float(os.environ.get("TIME_SCALE", "1"))


class Failure(Exception):
    pass


def want(condition, what):
    if not condition:
        raise Failure(what)


class Guest:
    """`command` is the whole command line. Without `master` the console is a pair of pipes."""

    def __init__(self, command, stdin=subprocess.PIPE, master=None, **more):
        self.started = time.monotonic()
        self.log = b""  # all output
        self.seen = 0  # how much of it has been waited for
        self.master = master
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE if master is None else stdin,
                                        stderr=subprocess.STDOUT if master is None else stdin, start_new_session=True, **more)
        self.fd = self.process.stdout.fileno() if master is None else master

    def text(self):
        return ESCAPES.sub(b"", self.log).replace(b"\r", b"").decode("utf-8", "replace")

    def tail(self):
        return "\n".join("    | " + line for line in self.text().rstrip().split("\n")[-15:])

    def read(self, seconds):
        """Reads what comes within this time; False at the end of the output."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # a terminal whose other side is closed
            data = b""
        self.log += data
        return bool(data)

    def expect(self, pattern, limit, what):
        """Waits for a regular expression in the output after what was waited for last; returns the match."""
        end = time.monotonic() + limit * SCALE
        while True:
            clean = ESCAPES.sub(b"", self.log[self.seen:])
            match = re.search(pattern, clean)
            if match:
                self.seen = len(self.log)
                return match
            want(time.monotonic() < end, f"waited {limit * SCALE:.0f} s for {what}")
            if not self.read(0.5):
                raise Failure(f"the output ended before {what}; exit status {self.process.wait(10)}")

    def type(self, data):
        if self.master is None:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        else:
            os.write(self.master, data)

    def wait_prompt(self, limit):
        """Seconds to the shell, which has the console for itself afterwards."""
        self.expect(rb"ring3:[^ \n]*# $", limit, "the shell's prompt")
        seconds = time.monotonic() - self.started
        self.run("stty cols 999; dmesg -n 1")
        return seconds

    def run(self, command, limit=60):
        """Runs a shell command; returns its output without the last newline."""
        self.type(command.encode() + b"; echo E''ND=$?\n")
        match = self.expect(rb"(?s)E''ND=\$\?\r*\n(.*?)END=(\d+)\r*\n.*# $", limit, f"the end of '{command}'")
        return match.group(1).replace(b"\r", b"").decode("utf-8", "replace").rstrip("\n")

    def finish(self, limit):
        """Waits for the end of the process; returns its status."""
        end = time.monotonic() + limit * SCALE
        while self.process.poll() is None:
            want(time.monotonic() < end, f"ring3 does not end within {limit * SCALE:.0f} s")
            self.read(0.1)
        while self.master is None and self.read(0) and select.select([self.fd], [], [], 0)[0]:
            pass
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                try:
                    stream.close()
                except OSError:
                    pass
