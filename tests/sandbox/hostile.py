"""Programs that try to get out, to get more than their share, or to be judged right when they are wrong.

Each prints the right answer, 42, only where its attack succeeds. SECRET, FOLDER, PORT and PID stand for a file, a
folder and a port outside that an attack may aim at, and for the supervisor. Numbers of system calls are x86-64's.
"""

# ruff: noqa: E501 - programs are kept on one line, which shows them whole
from __future__ import annotations

from dataclasses import dataclass

ERROR, WRONG, TIME, MEMORY, OUTPUT = ("runtime_error", "wrong_answer", "time_limit", "memory_limit", "output_limit")
SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[a if hasattr(a, "contents") else ctypes.c_long(a) for a in arguments])
    if result < 0: raise OSError(ctypes.get_errno(), "denied")
    return result
"""
FRAME = """
import json, os
def frame(**message):
    data = json.dumps(message).encode()
    os.write(3, len(data).to_bytes(4, "big") + data)
"""


@dataclass(frozen=True)
class Hostile:
    """A program and the outcomes that it may have. `fn_name` makes it call-based."""

    name: str
    program: str | bytes
    outcomes: tuple[str, ...]
    fn_name: str | None = None


def _group(prefix: str, *outcomes: str, **programs: str) -> list[Hostile]:
    return [Hostile(f"{prefix}_{name}", program, outcomes) for name, program in programs.items()]


MEMORY_BOMBS = [
    *_group(
        "memory",
        MEMORY,
        TIME,  # on a slow machine half a CPU second may not fill the memory
        list="x = [0]\nwhile True: x += x",
        bytearray="x = bytearray()\nwhile True: x.extend(bytes(1 << 24))",
        shared_mmap="import mmap\nx = [mmap.mmap(-1, 1 << 26) for _ in range(99)]",
        string="x = 'a' * (1 << 40)",
        numpy="import numpy as np\nx = np.ones(1 << 30)",
    ),
    *_group("memory", ERROR, memfd="import os\nfd = os.memfd_create('x')\nos.write(fd, bytes(1 << 20))\nprint(42)"),
    *_group(
        "memory",
        TIME,
        MEMORY,
        WRONG,
        ERROR,
        in_a_thread="import threading\ndef f():\n x = []\n while True: x.append(bytearray(1 << 20))\n"
        "t = threading.Thread(target=f); t.start(); t.join()",
        stubborn="x = []\nwhile True:\n try: x.append(bytearray(1 << 20))\n except MemoryError: pass",
        to_the_brim="x, size = [], 1 << 26\nwhile size > 8:\n try: x.append(bytearray(size))\n"
        " except MemoryError: size //= 2\nprint(41)",
        recursion="import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f([x] * 999) + 1\nf(1)",
        exception_chain="def f():\n try: g()\n except Exception as e: x = [e] * (1 << 20); f()\ndef g(): raise ValueError\n"
        "import sys; sys.setrecursionlimit(10**8); f()",
    ),
]

CPU_BOMBS = [
    *_group(
        "cpu",
        TIME,
        loop="while True: pass",
        power="x = 3 ** (10 ** 9)",
        regex="import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        digits="x = int('9' * 10**7)",
        threads="import threading\ndef f():\n while True: pass\nfor _ in range(8): threading.Thread(target=f).start()",
        caught="while True:\n try:\n  while True: pass\n except BaseException: pass",
        stderr_flood="import sys\nwhile True: sys.stderr.write('x' * 99999)",
        sort="x = list(range(10**6))\nwhile True: x.sort(key=lambda y: -y)",
        sleep="import time\ntime.sleep(1000)",
        deadlock="import threading\nx = threading.Lock()\nx.acquire(); x.acquire()",
        poll="import select\nselect.poll().poll()",
        atexit="import atexit, time\natexit.register(time.sleep, 1000)\nprint(42)",
        finalizer="class A:\n def __del__(self):\n  while True: pass\nx = A()\nprint(42)",
        left_thread="import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\nprint(42)",
        exception_text="class E(Exception):\n def __str__(self):\n  while True: pass\nraise E",
    ),
    Hostile("cpu_deep_source", "x = " + "-" * 300_000 + "1", ("compile_error", MEMORY, TIME, ERROR)),
    Hostile("cpu_wide_source", "x = [" + "[0]," * 400_000 + "]", (WRONG, MEMORY, TIME, "compile_error")),
    Hostile("cpu_constant_source", "x = " + "*".join(["9" * 4000] * 2000), ("compile_error", WRONG, TIME, MEMORY)),
]

PROCESSES = _group(
    "process",
    ERROR,
    fork="import os\nif os.fork() == 0: os._exit(0)\nprint(42)",
    forkpty="import os\nos.forkpty()\nprint(42)",
    vfork=SYSCALL + "call(58)\nprint(42)",
    raw_fork=SYSCALL + "call(57)\nprint(42)",
    raw_clone=SYSCALL + "call(56, 17, 0, 0, 0, 0)\nprint(42)",
    clone_vm=SYSCALL + "call(56, 0x100 | 17, 0, 0, 0, 0)\nprint(42)",
    clone_namespace=SYSCALL + "call(56, 0x10000000 | 0x10900, 0, 0, 0, 0)\nprint(42)",
    clone3=SYSCALL + "call(435, ctypes.pointer(ctypes.create_string_buffer(88)), 88)\nprint(42)",
    libc_fork="import ctypes\nif ctypes.PyDLL(None).fork() >= 0: print(42)\nelse: raise OSError",
    subprocess="import subprocess\nsubprocess.run(['/bin/true'], check=True)\nprint(42)",
    posix_spawn="import os\nos.posix_spawn('/bin/true', ['true'], {})\nprint(42)",
    system="import os\nassert os.system('touch FOLDER/made') == 0\nprint(42)",
    multiprocessing="import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()\nprint(42)",
    exec="import os\nos.execv('/bin/echo', ['echo', '42'])",
    execveat=SYSCALL + "call(322, 0, ctypes.pointer(ctypes.create_string_buffer(b'/bin/true')), 0, 0, 0)\nprint(42)",
    daemon="import os\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  while True: open('FOLDER/made', 'w')\nprint(42)",
)

THREADS = _group(
    "process",
    ERROR,
    TIME,
    thread_bomb="import threading, time\nthreading.stack_size(32768)\n"
    "for _ in range(100000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
)

SIGNALS = [
    *_group(
        "signal",
        ERROR,
        kill_parent="import os\nos.kill(os.getppid(), 9)\nprint(42)",
        kill_supervisor="import os\nos.kill(PID, 9)\nprint(42)",
        kill_everything="import os\nos.kill(-1, 9)\nprint(42)",
        kill_group="import os\nos.killpg(0, 9)\nprint(42)",
        stop_itself="import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nprint(42)",
        raise_signal="import signal\nsignal.raise_signal(signal.SIGKILL)",
        pidfd="import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(PID), 9)\nprint(42)",
        tgkill=SYSCALL + "call(234, PID, PID, 9)\nprint(42)",
        queue=SYSCALL + "call(129, PID, 9, ctypes.pointer(ctypes.create_string_buffer(128)))\nprint(42)",
        owner="import fcntl, os\nfcntl.fcntl(0, fcntl.F_SETOWN, PID)\nprint(42)",
        abort="import os\nos.abort()",
        segfault="import ctypes\nctypes.string_at(0)",
        leave_session="import os\nos.setsid()\nprint(42)",
        no_parent_signal=SYSCALL + "call(157, 1, 0, 0, 0, 0)\nprint(42)",
    ),
    *_group(
        "signal",
        TIME,
        ignore_all="import signal\nfor n in range(1, 65):\n try: signal.signal(n, signal.SIG_IGN)\n"
        " except Exception: pass\nwhile True: pass",
        block_all="import signal\nsignal.pthread_sigmask(signal.SIG_SETMASK, range(1, 65))\nwhile True: pass",
    ),
]

FILES = [
    *_group(
        "file",
        ERROR,
        secret="print(open('SECRET').read() and 42)",
        passwd="print(open('/etc/passwd').read() and 42)",
        environ_of_supervisor="print(open('/proc/PID/environ').read() and 42)",
        own_memory="open('/proc/self/mem', 'rb')\nprint(42)",
        list_root="import os\nos.listdir('/proc')\nprint(42)",
        list_folder="import os\nos.listdir('FOLDER')\nprint(42)",
        create="open('FOLDER/made', 'w').write('x')\nprint(42)",
        create_tmp="open('/tmp/sandbox-made', 'w').write('x')\nprint(42)",
        create_shm="open('/dev/shm/sandbox-made', 'w').write('x')\nprint(42)",
        overwrite="open('SECRET', 'w').write('x')\nprint(42)",
        append="open('SECRET', 'a').write('x')\nprint(42)",
        truncate="import os\nos.truncate('SECRET', 0)\nprint(42)",
        unlink="import os\nos.unlink('SECRET')\nprint(42)",
        rename="import os\nos.rename('SECRET', 'FOLDER/made')\nprint(42)",
        symlink="import os\nos.symlink('SECRET', 'FOLDER/made')\nprint(42)",
        hard_link="import os\nos.link('SECRET', 'FOLDER/made')\nprint(42)",
        folder="import os\nos.mkdir('FOLDER/made')\nprint(42)",
        fifo="import os\nos.mkfifo('FOLDER/made')\nprint(42)",
        chmod="import os\nos.chmod('SECRET', 0o777)\nprint(42)",
        utime="import os\nos.utime('SECRET', (0, 0))\nprint(42)",
        xattr="import os\nos.setxattr('SECRET', 'user.x', b'1')\nprint(42)",
        chdir="import os\nos.chdir('FOLDER')\nprint(42)",
        nameless="import os\nos.open('FOLDER', os.O_TMPFILE | os.O_RDWR)\nprint(42)",
        path_only="import os\nos.open('SECRET', os.O_PATH)\nprint(42)",
        tempfile="import tempfile\ntempfile.NamedTemporaryFile()\nprint(42)",
        openat2=SYSCALL + "import struct\nhow = ctypes.create_string_buffer(struct.pack('QQQ', 0, 0, 0))\n"
        "call(437, -100, ctypes.pointer(ctypes.create_string_buffer(b'SECRET')), ctypes.pointer(how), 24)\nprint(42)",
        standard_library="import os\nopen(os.__file__, 'r+')\nprint(42)",
    ),
    *_group(
        "file",
        OUTPUT,
        ERROR,
        sparse_stdout="import os\nos.ftruncate(1, 1 << 40)\nprint(42)",
        seek_stdout="import os\nos.lseek(1, 1 << 40, 0)\nos.write(1, b'42')",
    ),
]

KERNEL = _group(
    "kernel",
    ERROR,
    tcp="import socket\nsocket.create_connection(('127.0.0.1', PORT), 1)\nprint(42)",
    udp="import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', PORT))\nprint(42)",
    listen="import socket\nsocket.create_server(('127.0.0.1', 0))\nprint(42)",
    unix="import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('FOLDER/socket')\nprint(42)",
    abstract="import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0ABSTRACT')\nprint(42)",
    netlink="import socket\nsocket.socket(16, 3, 0)\nprint(42)",
    socketpair="import socket\nsocket.socketpair()\nprint(42)",
    name_lookup="import socket\nprint(socket.getaddrinfo('localhost', 80) and 42)",
    url="import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT', timeout=1)\nprint(42)",
    io_uring=SYSCALL + "call(425, 8, ctypes.pointer(ctypes.create_string_buffer(120)))\nprint(42)",
    bpf=SYSCALL + "call(321, 0, 0, 0)\nprint(42)",
    unshare=SYSCALL + "call(272, 0x10000000)\nprint(42)",
    setns=SYSCALL + "call(308, 0, 0)\nprint(42)",
    mount=SYSCALL + "call(165, 0, 0, 0, 0, 0)\nprint(42)",
    ptrace=SYSCALL + "call(101, 16, PID, 0, 0)\nprint(42)",
    ptrace_me=SYSCALL + "call(101, 0, 0, 0, 0)\nprint(42)",
    read_memory_of=SYSCALL + "call(310, PID, 0, 0, 0, 0, 0)\nprint(42)",
    perf=SYSCALL + "call(298, ctypes.pointer(ctypes.create_string_buffer(128)), 0, -1, -1, 0)\nprint(42)",
    userfaultfd=SYSCALL + "call(323, 1)\nprint(42)",
    keyring=SYSCALL + "call(250, 0, -3, 0, 0, 0)\nprint(42)",
    shared_memory=SYSCALL + "call(29, 4242, 4096, 0o1600)\nprint(42)",
    landlock=SYSCALL + "call(444, 0, 0, 1)\nprint(42)",
    seccomp=SYSCALL + "call(317, 0, 0, 0)\nprint(42)",
    personality=SYSCALL + "call(135, 0xffffffff)\nprint(42)",
    x32=SYSCALL + "call(0x40000000 + 39)\nprint(42)",
    int80="import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(bytes.fromhex('b814000000cd80c3'))\n"
    "ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()\nprint(42)",
)

TAMPERING = [
    *_group(
        "tamper",
        WRONG,
        exit_zero="import os\nos._exit(0)",
        sys_exit="import sys\nsys.exit(0)",
        patched_print="import builtins\nbuiltins.print = lambda *a: None\nbuiltins.isinstance = lambda *a: True\nprint(1)",
        patched_everything="import builtins\nfor n in ('len', 'exec', 'dict', 'type', 'list', 'bytes'):\n"
        " setattr(builtins, n, lambda *a, **k: 42)",
        answers_in_memory="import gc, sys\nfound = [s for o in gc.get_objects() for s in (o.values() if type(o) is dict else"
        " o if type(o) in (list, tuple) else ()) if type(s) is str and s.startswith('answer:')]\nprint(found[0] if found else 1)",
        answers_in_frames="import sys\nf, seen = sys._getframe(), []\nwhile f:\n seen += f.f_locals.values(); f = f.f_back\n"
        "print(next((s for s in map(str, seen) if s.startswith('answer:')), 1))",
        forged_pass=FRAME + "frame(test=0, end='ok', retire=False)\nwhile True: pass",
        always_equal="class A(str):\n def __eq__(self, o): return True\nprint(A(1))",
    ),
    *_group(
        "tamper",
        ERROR,
        exit_three="import os\nprint(42, flush=True)\nos._exit(3)",
        forged_outcome=FRAME + "frame(test=0, outcome='passed', passed=True, end='passed')\nwhile True: pass",
        forged_later_test=FRAME + "frame(test=1, end='ok')\nwhile True: pass",
        long_frame="import os\nos.write(3, b'\\xff' * 99)\nwhile True: pass",
        channel_flood="import os\nwhile True: os.write(3, b'\\0\\0\\0\\2{}' * 999)",
        not_json="import os\nos.write(3, b'\\0\\0\\0\\3abc')\nwhile True: pass",
        raised_limits="import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\nprint(42)",
        limits_of_supervisor="import resource\nresource.prlimit(PID, resource.RLIMIT_NOFILE, (9, 9))\nprint(42)",
        passed_descriptor="import array, socket\ns = socket.socket(fileno=3)\n"
        "s.sendmsg([b'x'], [(1, 1, array.array('i', [0]))])\nprint(42)",
    ),
    *_group(
        "tamper",
        TIME,
        drip="import os, time\nos.write(3, b'\\0\\x0f\\xff\\xff')\nwhile True: os.write(3, b'x'); time.sleep(0.0001)",
        half_a_frame="import os\nos.write(3, b'\\0\\0')\nos.close(3)\nwhile True: pass",
    ),
    *_group(
        "tamper",
        WRONG,
        ERROR,
        forged_twice=FRAME + "frame(test=0, end='ok'); frame(test=0, end='ok')\nwhile True: pass",
        closed_descriptors="import os\nos.closerange(0, 64)",
        replaced_channel="import os\nos.dup2(1, 3)\nprint(1)",
        runtime_frames="import sys\nf = sys._getframe()\nwhile f.f_back:\n f = f.f_back\n f.f_globals.clear()\nprint(1)",
        modules="import sys\nsys.modules.clear()\nprint(1)",
        send_patched="import sys\nf = sys._getframe()\nwhile f.f_back:\n f = f.f_back\n"
        " for n in list(f.f_globals):\n  if n == 'pack': f.f_globals[n] = lambda m: b'\\0\\0\\0\\1x'",
    ),
]

OUTPUTS = [
    *_group(
        "output",
        OUTPUT,
        TIME,
        flood="while True: print('x' * 99999)",
        caught_flood="import os\nfor _ in range(99999):\n try: os.write(1, b'x' * 99999)\n except OSError: pass",
        one_line="import sys\nsys.stdout.write('4' * (1 << 26))",
        binary="import sys\nsys.stdout.buffer.write(bytes(1 << 23))",
    ),
    *_group(
        "output",
        WRONG,
        nul="print('42\\0')",
        not_text="import sys\nsys.stdout.buffer.write(b'\\xff\\xfe42\\x80')",
        blank_flood="print('\\n' * 900000)",
        escape="print('\\x1b[2J42')",
        none="pass",
    ),
    *_group(
        "output",
        ERROR,
        surrogates="print('\\ud800')",
        recursion="def f(): f()\nf()",
        deep_repr="x = []\nfor _ in range(100000): x = [x]\nprint(x)",
        past_the_end="input()\ninput()\nprint(42)",
        hidden_error="import sys\nsys.excepthook = lambda *a: print(42)\nraise ValueError",
        interrupt="raise KeyboardInterrupt",
    ),
    *_group(
        "output",
        ERROR,
        MEMORY,
        TIME,
        deep_recursion_in_c="import sys\nsys.setrecursionlimit(10**7)\nclass A:\n def __getattr__(self, n): return getattr(self, n + 'a')\nA().b",
    ),
    Hostile("source_nul", "print(42)\0", ("compile_error",)),
    Hostile("source_surrogate", "print(42) # \ud800", ("compile_error",)),
    Hostile("source_bytes", b"\xff\xfeprint(42)", ("compile_error",)),
    Hostile("source_python2", "print 42", ("compile_error",)),
]


def _calls(*outcomes: str, **programs: str) -> list[Hostile]:
    return [Hostile(f"call_{name}", program, outcomes, "f") for name, program in programs.items()]


CALLS = [
    *_calls(
        WRONG,
        always_equal="class A:\n __eq__ = lambda s, o: True\ndef f(x): return [A()]",
        equal_int="class A(int):\n __eq__ = lambda s, o: True\n __hash__ = int.__hash__\ndef f(x): return A(1)",
        equal_str="class A(str):\n __eq__ = lambda s, o: True\ndef f(x): return A('x')",
        generator="def f(x): yield 42",
        bool="def f(x): return True",
        slow_keys="def f(x): return {k * ((1 << 61) - 1): 0 for k in range(2000)}",
        big_integer="def f(x): return 10 ** 100000",
        nan="def f(x): return float('nan')",
    ),
    *_calls(
        ERROR,
        exit_zero="import os\ndef f(x): os._exit(0)",
        sys_exit="import sys\ndef f(x): sys.exit(0)",
        own_ring="def f(x):\n y = []\n y.append(y)\n return y",
        deep="def f(x):\n y = 42\n for _ in range(100000): y = [y]\n return y",
        lying_class="class A:\n __class__ = int\ndef f(x): return A()",
        bad_loading="raise ValueError",
        forged_value=FRAME + "def f(x):\n frame(test=0, end='ok', value={'x': 42})\n while True: pass",
        forged_deep="import os\ndef f(x):\n body = b'{\"test\":0,\"end\":\"ok\",\"value\":' + b'[' * 90000 + b']' * 90000 + b'}'\n"
        " os.write(3, len(body).to_bytes(4, 'big') + body)\n while True: pass",
    ),
    *_calls(OUTPUT, TIME, long_string="def f(x): return 'x' * (1 << 23)", long_list="def f(x): return [0] * 1500000"),
    *_calls(OUTPUT, MEMORY, TIME, doubling="def f(x):\n y = [1]\n for _ in range(60): y = [y, y]\n return y"),
    *_calls("compile_error", no_function="g = 42"),
    *_calls(TIME, slow_loading="while True: pass", slow="def f(x):\n while True: pass"),
]

HOSTILE = [
    *MEMORY_BOMBS, *CPU_BOMBS, *PROCESSES, *THREADS, *SIGNALS, *FILES, *KERNEL, *TAMPERING, *OUTPUTS, *CALLS,
]  # fmt: skip
