"""Running programs: once, as PostgreSQL runs a command, and in the background."""

import os
import signal
import subprocess
import time
from pathlib import Path


class Failed(Exception):
    """A command that is measured, or that a measurement stands on, did not do what it should."""


def run(arguments, env=None, cwd=None, data=None):
    """Runs a program to its end and returns its standard output. It must succeed."""
    arguments = [str(argument) for argument in arguments]
    done = subprocess.run(arguments, env=environment(env), cwd=cwd, input=data, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def timed(arguments, env=None, cwd=None):
    """Runs a program to its end and returns the seconds it took. It must succeed."""
    begun = time.monotonic()
    run(arguments, env, cwd)
    return time.monotonic() - begun


def environment(more):
    """The environment of this process, and more."""
    return {**os.environ, **(more or {})}


class Background:
    """A program that runs until it is stopped; its output goes to a file."""

    def __init__(self, arguments, log, env=None, cwd=None):
        self.log = Path(log)
        self.arguments = [str(argument) for argument in arguments]
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment(env), cwd=cwd
            )

    @property
    def pid(self):
        """Its process id."""
        return self.process.pid

    def check(self):
        """Fails if it has ended."""
        if self.process.poll() is not None:
            raise Failed(f"{' '.join(self.arguments)} ended with {self.process.returncode}:\n{self.end_of_log()}")

    def end_of_log(self):
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self, how=signal.SIGTERM):
        """Asks it to end, and waits."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server:
    """Runs archive_command and restore_command as PostgreSQL does: `sh -c`, in the data directory, one at a time."""

    def __init__(self, data, log, env=None):
        self.data, self.log, self.env = data, log, environment(env)

    def __enter__(self):
        self.before = os.getcwd()
        os.chdir(self.data)
        return self

    def __exit__(self, *_):
        os.chdir(self.before)

    def call(self, command, name, path, expected=0):
        """Runs a command for one file and returns the seconds it took."""
        command = command.replace("%p", path).replace("%f", name)
        output = [(os.POSIX_SPAWN_OPEN, 1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        begun = time.monotonic()
        child = os.posix_spawn("/bin/sh", ["sh", "-c", command], self.env, file_actions=output)
        _, status = os.waitpid(child, 0)
        took = time.monotonic() - begun
        code = os.waitstatus_to_exitcode(status)
        if code != expected:
            end = "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-30:])
            raise Failed(f"{command}\nended with {code}, not {expected}:\n{end}")
        return took


def wait_until(seconds, what, question, pause=0.02):
    """Asks until the answer is true, and returns it; fails when the deadline passes first."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"not within {seconds} seconds: {what}")
        time.sleep(pause)
