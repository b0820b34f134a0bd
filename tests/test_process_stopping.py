"""How a process is told to stop."""

import signal
import subprocess
import sys
import time

import pytest

from raypeft import stopping
from raypeft.stopping import Stop, Stopped


def test_a_signal_is_raised_where_nothing_polls():
    stop = Stop()
    with pytest.raises(Stopped, match="stopped by SIGTERM") as raised, stop.on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_code == 143


def test_a_signal_waits_for_the_next_poll_and_a_second_one_does_not():
    stop, reached = Stop(), []
    with pytest.raises(Stopped), stop.on_signals(), stop.deferred():
        signal.raise_signal(signal.SIGINT)
        reached.append("after the first")
        with pytest.raises(Stopped):
            stop.check()
        signal.raise_signal(signal.SIGTERM)
        reached.append("after the second")
    assert reached == ["after the first"]
    assert stop.number == signal.SIGINT


def test_what_polls_too_rarely_is_stopped_after_a_while(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 1)
    stop, started = Stop(), time.monotonic()
    with pytest.raises(Stopped) as raised, stop.on_signals(), stop.deferred():
        signal.raise_signal(signal.SIGHUP)
        time.sleep(10)
    assert 0.5 < time.monotonic() - started < 5
    assert raised.value.exit_code == 129


def test_handlers_are_left_as_they_were_and_an_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        with Stop().on_signals():
            signal.raise_signal(signal.SIGHUP)
        assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGHUP, before)


STUCK = """
import ctypes
from raypeft import stopping

stopping.GRACE, stopping.LAST_RESORT = 1, 0
library = ctypes.CDLL(None)
mutex = ctypes.create_string_buffer(64)
library.pthread_mutex_lock(mutex)
with stopping.Stop().on_signals():
    print("stuck", flush=True)
    library.pthread_mutex_lock(mutex)  # never comes back, and no signal wakes it
"""


def test_a_process_that_waits_within_a_library_ends_as_well_and_says_so():
    process = subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"stuck\n"
    time.sleep(0.3)
    process.terminate()
    assert process.wait(20) == 143
    assert process.stderr and b"the same command goes on from there" in process.stderr.read()
