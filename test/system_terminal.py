"""A person at the terminal."""

import os
import pty
import re
import select
import subprocess
import time

from launch import linux, multiboot, tail
from outcome import Failure


class Session:
    """./umbra with a terminal of its own; what it prints is waited for, and typed at."""

    def __init__(self, arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(["./umbra", *arguments], stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True)
        os.close(slave)
        self.output = ""
        self.seen = 0

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return
        try:
            self.output += os.read(self.master, 65536).decode(errors="replace").replace("\r", "")
        except OSError:
            time.sleep(seconds)

    def expect(self, pattern, seconds=60):
        """Waits for the pattern after what was matched before."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.compile(pattern, re.MULTILINE).search(self.output, self.seen)
            if match:
                self.seen = match.end()
                return match
            if time.monotonic() > deadline:
                raise Failure(f"no {pattern!r} within {seconds} s\n{tail(self.output)}")
            self.read(0.2)

    def type(self, keys):
        os.write(self.master, keys.encode())

    def close(self, seconds=60):
        """Status and all output."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"./umbra does not end within {seconds} s\n{tail(self.output)}")
            self.read(0.2)
        self.read(0.2)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        os.close(self.master)


def interactive():
    switch = "\x01\x01\x01"
    with Session(["run", "--limit", "240", linux("interactive", run=None)]) as s:
        s.expect(r"# ", 120)
        s.type("echo $((6 * 7)) from $(uname -s)\n")
        s.expect(r"^42 from Linux")
        s.expect(r"# ")
        s.type("sleep 1000\n")
        time.sleep(1)
        s.type("\x03")
        s.expect(r"# ")
        s.type(switch)
        s.expect(r"input to the monitor")
        s.type("domains\r")
        s.expect(r"linux .*paging: shadow")
        s.type("walk linux 0xffffffff81000000\r")
        s.expect(r"^level +guest")
        s.expect(r"^ *4 ")
        s.type("audit\r")
        s.expect(r"audit: 0 violations")
        s.type(switch)
        s.expect(r"input to linux")
        s.type("\n")
        s.expect(r"# ")
        s.type("poweroff\n")
        s.expect(r"linux powered off", 60)
        status = s.close()
        if status:
            raise Failure(f"exit status {status}, expected 0\n{tail(s.output)}")


def terminal_is_restored():
    """A killed session leaves the terminal as it was."""
    master, slave = pty.openpty()
    try:
        import termios
        before = termios.tcgetattr(slave)
        process = subprocess.Popen(["./umbra", "run", "--limit", "6", linux("terminal", run=None)], stdin=slave,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)
        during = termios.tcgetattr(slave)
        process.terminate()
        process.wait(20)
        after = termios.tcgetattr(slave)
    finally:
        os.close(master)
        os.close(slave)
    if during == before:
        raise RuntimeError("the terminal was never changed: this test shows nothing")
    if after != before:
        raise Failure(f"terminal attributes before {before} and after {after}")


def uart_session():
    """What a person types reaches the serial port of a multiboot kernel."""
    with Session(["run", multiboot("echo", "echo")]) as s:
        s.expect("echo: type, and end with a dot")
        s.type("hello, board.")
        s.expect(r"echo: heard 'hello, board' by \d+ interrupts")
        s.expect("echo: ok")
        status = s.close()
    if status:
        raise Failure(f"exit status {status}, expected 0\n{tail(s.output)}")
