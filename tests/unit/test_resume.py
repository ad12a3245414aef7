import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.jobs import resume
from pipeline.jobs.resume import Interruption, _ask_to_stop, only_process, state_key

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_key_depends_on_every_part_and_on_their_borders():
    keys = {state_key("a", "b"), state_key("a", "c"), state_key("ab", ""), state_key("", "ab")}
    assert len(keys) == 4


ORPHAN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pipeline.jobs.resume import Interruption, only_process
with only_process(Path(sys.argv[2])):
    interruption = Interruption()
    print("working", flush=True)
    while not interruption.requested:
        time.sleep(0.02)
    Path(sys.argv[2], "saved").write_text("state")
"""


def test_orphan_is_asked_to_save_and_stop(tmp_path, caplog):
    command = [sys.executable, "-c", ORPHAN, str(SCRIPTS), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout.readline() == "working\n"
        with only_process(tmp_path):
            assert (tmp_path / "saved").exists()
        assert orphan.wait(5) == 0
    assert f"process {orphan.pid}" in caplog.text


@pytest.mark.skipif(not psutil.LINUX, reason="the kernel has another clock for processes")
def test_orphan_is_known_where_the_clock_was_set_back(tmp_path, monkeypatch):
    command = [sys.executable, "-c", ORPHAN, str(SCRIPTS), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orphan:
        try:
            assert orphan.stdout.readline() == "working\n"
            owner = json.loads((tmp_path / ".lock").read_text())
            before = psutil.boot_time()
            monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: before - 3600)
            assert resume._process_of(owner).pid == orphan.pid
        finally:
            orphan.terminate()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_stopped_orphan_is_woken_to_save_or_killed(tmp_path, caplog, monkeypatch, deaf):
    monkeypatch.setattr(resume, "PATIENCE", 0.5)
    program = ORPHAN
    if deaf:
        program = ORPHAN.replace("while not interruption.requested", "while True")
    command = [sys.executable, "-c", program, str(SCRIPTS), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout.readline() == "working\n"
        orphan.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        with only_process(tmp_path):
            assert (tmp_path / "saved").exists() is not deaf
        assert time.monotonic() - started < 10
        assert orphan.wait(5) == (-signal.SIGKILL if deaf else 0)
    assert ("is killed" in caplog.text) is deaf


def test_a_later_process_with_the_same_number_is_left_alone():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        _ask_to_stop({"host": socket.gethostname(), "pid": bystander.pid, "started": 1.0})
        time.sleep(0.3)
        assert bystander.poll() is None
        bystander.communicate(b"\n")
    assert bystander.returncode == 0


def test_half_written_files_of_a_killed_process_are_removed(tmp_path):
    left_over = tmp_path / ".checkpoints.safetensors.abc123.tmp"
    left_over.write_bytes(b"half")
    with only_process(tmp_path):
        assert not left_over.exists()


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pipeline.jobs.resume import Callers
callers = Callers()
print(callers.alive(), flush=True)
input()
time.sleep(0.2)
print(callers.alive(), flush=True)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
time.sleep(60)
"""


def test_callers_are_alive_until_they_are_killed():
    command = [sys.executable, "-c", PARENT, CHILD, str(SCRIPTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "True\n"
        process.kill()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "False\n"


def test_lock_is_free_again_afterwards(tmp_path):
    started = time.monotonic()
    for _ in range(2):
        with only_process(tmp_path):
            pass
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_process_at_a_time_of_its_choosing(number, caplog):
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        interruption = Interruption()
        interruption.exit_if_requested("not yet")
        signal.raise_signal(number)
        assert interruption.requested
        with pytest.raises(SystemExit) as caught:
            interruption.exit_if_requested("saved epoch 3")
        assert caught.value.code == 128 + number
        assert "saved epoch 3" in caplog.text
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
