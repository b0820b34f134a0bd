"""Tier A's surroundings: namespaces of its own, an almost empty read-only root, and a uid that nobody else has.

kinds, parent = enter(["/usr/lib/python3.11"])     # in a process with one thread; forks, the caller goes on as pid 1
drop_user(sandbox_uid())                   # where the caller is root
"""

# ruff: noqa: PTH103 - every process would have pathlib and what it imports
from __future__ import annotations

import os
from collections.abc import Sequence

from raypeft.sandbox import linux

KINDS = ("net", "mnt", "pid", "ipc", "uts")
NOBODY = 65534
_FIRST_UID, _UIDS = 0x70000000, 1 << 20
_SYS_ADMIN = 1 << 21
_NAMESPACES = linux.CLONE_NEWNET | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
_STATVFS_FLAGS = {8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}


def enter(readable: Sequence[str]) -> tuple[list[str], int]:
    """Moves the calling process into new namespaces whose root holds nothing but `readable`, read-only.

    Without CAP_SYS_ADMIN it takes a user namespace for that. The caller becomes two processes: the one that was called
    waits and ends as the other ends; this function returns in the other one, pid 1 of the new pid namespace. Returns
    the namespaces' names and a pidfd of the one that waits. Raises OSError where the kernel, or the container, refuses.
    """
    kinds = list(KINDS)
    if _capabilities() & _SYS_ADMIN:
        linux.unshare(_NAMESPACES)
    else:
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(_NAMESPACES | linux.CLONE_NEWUSER)
        linux.write_file("/proc/self/setgroups", "deny")
        linux.write_file("/proc/self/gid_map", f"{NOBODY} {gid} 1")
        linux.write_file("/proc/self/uid_map", f"{NOBODY} {uid} 1")
        kinds.append("user")
    # Opened in the new mount namespace, from which alone they can be mounted.
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in readable}
    _empty_root(sources)
    for source in sources.values():
        os.close(source)
    return kinds, _become_first_process()


def _capabilities() -> int:
    lines = linux.read_file("/proc/self/status").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields["CapEff"], 16)


def _empty_root(sources: dict[str, int]) -> None:
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    new = "/tmp"  # noqa: S108 - any directory serves: the mount on it is seen by this process only
    linux.mount("none", new, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=1m")
    for path, source in sources.items():
        target = new + path
        os.makedirs(target, mode=0o755, exist_ok=True)
        linux.mount(f"/proc/self/fd/{source}", target, None, linux.MS_BIND | linux.MS_REC)
        flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
        have = os.statvfs(target).f_flag  # a user namespace may not take away the flags of the mount that it copies
        linux.mount(None, target, None, flags | sum(flag for bit, flag in _STATVFS_FLAGS.items() if have & bit))
    os.chdir(new)
    linux.pivot_root(".", ".")
    linux.detach(".")
    os.chdir("/")
    flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount(None, "/", None, flags)


def _become_first_process() -> int:
    """Forks: a pid namespace is entered by children only. The parent waits, and ends the way its child ended."""
    parent = os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        os.close(parent)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    return parent


def sandbox_uid() -> int:
    """A uid for a root sandbox: of its own where this user namespace has enough of them, else nobody's."""
    lines = linux.read_file("/proc/self/uid_map").splitlines()
    ranges = [[int(number) for number in line.split()] for line in lines]
    last = max((inner + count for inner, _, count in ranges), default=0)
    return _FIRST_UID + os.getpid() % _UIDS if last > _FIRST_UID + _UIDS else NOBODY


def drop_user(uid: int) -> None:
    """Becomes `uid`, with the group of the same number and no other. Raises OSError without the right to."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
