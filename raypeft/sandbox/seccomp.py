"""The system calls that a sandboxed program may make: an allow list as a classic BPF program, for x86-64 and arm64.

    program = build_filter("x86_64", open_files=True)      # instructions, once per zygote
    install(program)                                       # in each forked process, after no_new_privs

What is not listed answers EPERM; another architecture's calls and x32 kill the process. Processes cannot be made:
`clone` must make a thread, `clone3` (whose arguments a filter cannot read) answers ENOSYS, so that libc falls back to
`clone`. Numbers are from the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl and
include/uapi/asm-generic/unistd.h).
"""

from __future__ import annotations

import ctypes
import errno
from dataclasses import dataclass
from itertools import groupby

from raypeft.sandbox import linux

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, operand: struct sock_filter."""

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_ANY_BIT = 0x15, 0x35, 0x45
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data; an argument's low word comes first, since both machines are little-endian."""
X32 = 0x40000000

SYSCALLS: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "lseek": (8, 62), "close": (3, 57),
    "close_range": (436, 436), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "fcntl": (72, 25),
    "ioctl": (16, 29), "fsync": (74, 82), "ftruncate": (77, 46), "open": (2, None), "openat": (257, 56),
    "openat2": (437, 437), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79),
    "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "getdents64": (217, 61), "getcwd": (79, 17), "recvmsg": (47, 212),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "futex": (202, 98), "clone": (56, 220), "clone3": (435, 435), "set_robust_list": (273, 99),
    "set_tid_address": (218, 96), "rseq": (334, 293), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getpgrp": (111, None), "uname": (63, 160), "sysinfo": (99, 179),
    "getrlimit": (97, 163), "prlimit64": (302, 261), "getrusage": (98, 165), "times": (100, 153),
    "getcpu": (309, 168), "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "time": (201, None), "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "getrandom": (318, 278),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "alarm": (37, None), "getitimer": (36, 102), "setitimer": (38, 103), "umask": (95, 166),
}  # fmt: skip
"""Every call that the filter knows: its number on x86-64 and on arm64, None where that machine has none."""

_OPEN_WRITES = 0x3 | 0x40 | 0x200 | 0x400 | 0x200000 | 0x400000
"""O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND, O_PATH (which Landlock does not see), __O_TMPFILE: equal on both machines."""
_THREAD = 0x100 | 0x800 | 0x10000
"""CLONE_VM, CLONE_SIGHAND, CLONE_THREAD."""
_CLONE_FORBIDDEN = 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x7E020000
"""CLONE_PIDFD, _PTRACE, _VFORK, _PARENT and every CLONE_NEW* namespace."""
_FCNTL = (0, 1, 2, 3, 4, 1030, 1034)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GET_SEALS."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""


def _deny(number: int) -> Instruction:
    return (RETURN, 0, 0, ERRNO | number)


def _argument(index: int, high: bool = False) -> Instruction:
    return (LOAD, 0, 0, ARGUMENTS + 8 * index + 4 * high)


_ALLOWED: Instruction = (RETURN, 0, 0, ALLOW)


def _one_of(index: int, values: tuple[int, ...]) -> list[Instruction]:
    tests = [(JUMP_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *tests, _deny(errno.EPERM), _ALLOWED]


def _opening(index: int) -> list[Instruction]:
    return [_argument(index), (JUMP_ANY_BIT, 1, 0, _OPEN_WRITES), _ALLOWED, _deny(errno.EACCES)]


def _conditions(open_files: bool) -> dict[str, list[Instruction]]:
    """What is asked of the calls that are neither always allowed nor always denied; every path ends in a return."""
    clone = [_argument(0), (AND, 0, 0, _THREAD | _CLONE_FORBIDDEN), (JUMP_EQUAL, 0, 1, _THREAD)]
    # Reading one's own limits is harmless; setting them, or reading those of another process, is not offered.
    reading = [_argument(0), (JUMP_EQUAL, 0, 4, 0), _argument(2), (JUMP_EQUAL, 0, 2, 0)]
    conditions = {
        "clone": [*clone, _ALLOWED, _deny(errno.EPERM)],
        "clone3": [_deny(errno.ENOSYS)],
        "openat2": [_deny(errno.ENOSYS)],
        "prlimit64": [*reading, _argument(2, high=True), (JUMP_EQUAL, 1, 0, 0), _deny(errno.EPERM), _ALLOWED],
        "fcntl": _one_of(1, _FCNTL),
        "ioctl": _one_of(1, _IOCTL),
    }
    for name, index in (("open", 1), ("openat", 2)):
        conditions[name] = _opening(index) if open_files else [_deny(errno.EACCES)]
    return conditions


def build_filter(architecture: str, open_files: bool = True) -> list[Instruction]:
    """The filter's instructions. Without `open_files` (tier C) no file can be opened at all.

    The calls' numbers are looked up by a tree of comparisons: the kernel runs the program once for every number when
    it is installed, which a list would make four times as slow.
    """
    conditions = _conditions(open_files)
    column = 0 if architecture == "x86_64" else 1
    known = {numbers[column]: name for name, numbers in SYSCALLS.items() if numbers[column] is not None}
    last = max(number for number in known if number is not None)
    blocks = [_block(known.get(number), conditions) for number in range(last + 1)] + [(_deny(errno.EPERM),)]
    ranges, start = [], 0
    for block, group in groupby(blocks):
        ranges.append((start, list(block)))
        start += len(list(group))
    check = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, AUDIT[architecture]), (RETURN, 0, 0, KILL)]
    x32 = [(JUMP_GREATER_EQUAL, 0, 1, X32), (RETURN, 0, 0, KILL)] if architecture == "x86_64" else []
    return [*check, (LOAD, 0, 0, NUMBER), *x32, *_tree(ranges)]


def _block(name: str | None, conditions: dict[str, list[Instruction]]) -> tuple[Instruction, ...]:
    if name is None:
        return (_deny(errno.EPERM),)
    return tuple(conditions.get(name, [_ALLOWED]))


def _tree(ranges: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _tree(ranges[:middle]), _tree(ranges[middle:])
    if len(below) > 255:
        raise ValueError(f"a jump must span at most 255 instructions but spans {len(below)}")
    return [(JUMP_GREATER_EQUAL, len(below), 0, ranges[middle][0]), *below, *above]


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Filter)))


@dataclass(frozen=True)
class Prepared:
    """A program as the kernel takes it; kept by the zygote, so that a forked process only makes the call."""

    program: ctypes.Structure | None
    call: linux.PreparedPrctl


def prepare(program: list[Instruction]) -> Prepared:
    structure = _Program(len(program), (_Filter * len(program))(*(_Filter(*one) for one in program)))
    return Prepared(structure, linux.prepare_prctl(linux.PR_SET_SECCOMP, 2, ctypes.addressof(structure)))


def install(prepared: Prepared) -> None:
    """Puts the calling thread under the filter for good. Raises OSError where the kernel refuses."""
    linux.call_prctl(prepared.call)
