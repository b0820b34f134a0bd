"""The filter's program, run by an interpreter of classic BPF: x86-64 and arm64 alike, whatever machine this is."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from raypeft.sandbox import seccomp
from raypeft.sandbox.seccomp import ALLOW, AUDIT, ERRNO, KILL, SYSCALLS, build_filter

ARCHITECTURES = ["x86_64", "aarch64"]
HEADERS = {"x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "/usr/include/asm-generic/unistd.h"}
FORBIDDEN = {
    "socket": (41, 198), "connect": (42, 203), "sendmsg": (46, 211), "sendto": (44, 206), "bind": (49, 200),
    "socketpair": (53, 199), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "tgkill": (234, 131),
    "ptrace": (101, 117), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "memfd_create": (319, 279), "prctl": (157, 167), "seccomp": (317, 277),
    "setrlimit": (160, 164), "process_vm_readv": (310, 270), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "unlinkat": (263, 35),
    "mkdirat": (258, 34), "renameat2": (316, 276), "linkat": (265, 37), "symlinkat": (266, 36), "chdir": (80, 49),
    "fchmodat": (268, 53), "truncate": (76, 45), "mknodat": (259, 33), "personality": (135, 92), "shmget": (29, 194),
    "pipe2": (293, 59), "setsid": (112, 157), "landlock_create_ruleset": (444, 444), "io_uring_enter": (426, 426),
    "wait4": (61, 260), "setuid": (105, 146), "fallocate": (285, 47), "sendfile": (40, 71),
    "process_madvise": (440, 440),
}  # fmt: skip


def verdict(program: list[seccomp.Instruction], architecture: str, number: int, *arguments: int) -> int:
    """What the kernel would answer: struct seccomp_data through the program, instruction by instruction."""
    filled = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, AUDIT[architecture], 0, *(one % (1 << 64) for one in filled))
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, operand = program[position]
        position += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        else:
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[
                code
            ]
            position += if_true if holds else if_false


def number_of(name: str, architecture: str) -> int | None:
    return {**SYSCALLS, **FORBIDDEN}[name][ARCHITECTURES.index(architecture)]


def answer(name: str, architecture: str, *arguments: int, open_files: bool = True) -> int:
    number = number_of(name, architecture)
    assert number is not None
    return verdict(build_filter(architecture, open_files), architecture, number, *arguments)


both = pytest.mark.parametrize("architecture", ARCHITECTURES)


@both
def test_every_listed_call_without_conditions_is_allowed_and_every_other_number_answers_eperm(
    architecture: str,
) -> None:
    program = build_filter(architecture)
    conditional = set(seccomp._conditions(True))
    column = ARCHITECTURES.index(architecture)
    free = {numbers[column] for name, numbers in SYSCALLS.items() if name not in conditional}
    asked = {numbers[column] for name, numbers in SYSCALLS.items() if name in conditional}
    for number in [*range(1200), 0x3FFFFFFF]:
        if number not in asked:
            expected = ALLOW if number in free else ERRNO | errno.EPERM
            assert verdict(program, architecture, number) == expected, number


@both
@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_dangerous_call_is_denied_whatever_its_arguments(architecture: str, name: str) -> None:
    for arguments in ((), (1, 2, 3), (-1, -1, -1, -1, -1, -1)):
        assert answer(name, architecture, *arguments) == ERRNO | errno.EPERM


@both
def test_another_architectures_calls_kill(architecture: str) -> None:
    (other,) = set(ARCHITECTURES) - {architecture}
    assert verdict(build_filter(architecture), other, 0) == KILL


def test_calls_of_the_x32_abi_kill() -> None:
    for number in (0x40000000, 0x40000000 + 39, 0x7FFFFFFF, 0xFFFFFFFF):
        assert verdict(build_filter("x86_64"), "x86_64", number) == KILL


@both
def test_a_thread_can_be_made_and_a_process_cannot(architecture: str) -> None:
    thread = 0x3D0F00  # what glibc asks for
    assert answer("clone", architecture, thread) == ALLOW
    for flags in (17, 0x1200011, 0x100 | 17, 0x4100 | 17, 0x10900 & ~0x100, thread | 0x8000, -1, 0):
        assert answer("clone", architecture, flags) == ERRNO | errno.EPERM, hex(flags)
    assert answer("clone3", architecture) == ERRNO | errno.ENOSYS


@both
@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_a_thread_in_a_new_namespace_cannot_be_made(architecture: str, bit: int) -> None:
    assert answer("clone", architecture, 0x3D0F00 | 1 << bit) == ERRNO | errno.EPERM


@both
def test_files_are_opened_to_be_read_only(architecture: str) -> None:
    read = [0, 0x80000, 0x4000, 0x10000, 0x800]
    write = [1, 2, 3, 0x40, 0x41, 0x200, 0x400, 0x200000, 0x410000, 0x400002, -1]
    for flags in read:
        assert answer("openat", architecture, -100, 0, flags) == ALLOW
        assert answer("openat", architecture, -100, 0, flags, open_files=False) == ERRNO | errno.EACCES
    for flags in write:
        assert answer("openat", architecture, -100, 0, flags) == ERRNO | errno.EACCES, hex(flags)
    assert answer("openat2", architecture) == ERRNO | errno.ENOSYS
    if architecture == "x86_64":
        assert answer("open", architecture, 0, 0) == ALLOW
        assert answer("open", architecture, 0, 1) == ERRNO | errno.EACCES


@both
def test_limits_are_read_of_oneself_and_never_set(architecture: str) -> None:
    assert answer("prlimit64", architecture, 0, 7, 0, 1234) == ALLOW
    for arguments in ((0, 7, 1234, 0), (0, 7, 1 << 40, 0), (99, 7, 0, 1234), (1, 7, 1, 1)):
        assert answer("prlimit64", architecture, *arguments) == ERRNO | errno.EPERM


@both
def test_fcntl_and_ioctl_do_only_what_pythons_files_need(architecture: str) -> None:
    for name, allowed in (("fcntl", seccomp._FCNTL), ("ioctl", seccomp._IOCTL)):
        for command in [*range(1100), *range(0x5400, 0x5500), 0x7FFFFFFF]:
            expected = ALLOW if command in allowed else ERRNO | errno.EPERM
            assert answer(name, architecture, 0, command) == expected, (name, command)
    assert not {8, 10, 1031, 1033} & set(seccomp._FCNTL)  # F_SETOWN, F_SETSIG, F_SETPIPE_SZ, F_ADD_SEALS


@both
def test_every_path_of_the_program_ends_within_it(architecture: str) -> None:
    for open_files in (True, False):
        program = build_filter(architecture, open_files)
        assert len(program) < 4096
        for position, (code, if_true, if_false, _) in enumerate(program):
            if code not in (0x06, 0x20, 0x54):
                assert position + 1 + max(if_true, if_false) < len(program)
        assert program[-1][0] == 0x06


@both
def test_the_numbers_are_those_of_the_kernels_own_headers(architecture: str) -> None:
    header = Path(HEADERS[architecture])
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    table = {{"fstatat": "newfstatat"}.get(name, name): int(number) for name, number in found}
    column = ARCHITECTURES.index(architecture)
    for name, numbers in {**SYSCALLS, **FORBIDDEN}.items():
        assert table.get(name, numbers[column]) == numbers[column], name
        assert (numbers[column] is None) == (name not in table), name
