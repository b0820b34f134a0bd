"""Runs a command as a user without rights, as in a container without namespaces. Needs root.

    python tests/sandbox/as_nobody.py [--no-namespaces] command...

Folders that only root can enter (an interpreter below /root) are shown to the command all the same, by a mount that
nobody else sees. With --no-namespaces a seccomp filter refuses unshare, mount and new namespaces, as Docker's does.
"""

import os
import sys
from pathlib import Path

from raypeft.sandbox import linux, seccomp

UID = 54321


def show_folders(needed: list[Path]) -> None:
    """Makes `needed` reachable for everybody, in a mount namespace of this process."""
    hidden = [path for path in needed if not all(part.stat().st_mode & 0o1 for part in [path, *path.parents])]
    if not hidden:
        return
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    sources = {path: os.open(path, os.O_PATH) for path in hidden}
    covers = {
        next(part for part in [*reversed(path.parents), path] if not part.stat().st_mode & 0o1) for path in hidden
    }
    for cover in covers:
        linux.mount("none", str(cover), "tmpfs", 0, "mode=755")
    for path, source in sources.items():
        path.mkdir(parents=True, exist_ok=True)
        linux.mount(f"/proc/self/fd/{source}", str(path), None, linux.MS_BIND)
        os.close(source)


def refuse_namespaces() -> None:
    """Everything is allowed but unshare, mount, and clone with a CLONE_NEW flag; clone3 is not known."""
    allow, deny = (seccomp.RETURN, 0, 0, seccomp.ALLOW), (seccomp.RETURN, 0, 0, seccomp.ERRNO | 1)
    refused = {"x86_64": (272, 165), "aarch64": (97, 40)}[linux.machine() or "x86_64"]
    clone = seccomp.SYSCALLS["clone"][0 if linux.machine() == "x86_64" else 1]
    program = [
        (seccomp.LOAD, 0, 0, seccomp.NUMBER),
        *[(seccomp.JUMP_EQUAL, 5 - place, 0, number) for place, number in enumerate(refused)],
        (seccomp.JUMP_EQUAL, 4, 0, 435),
        (seccomp.JUMP_EQUAL, 0, 4, clone or 0),
        seccomp._argument(0),
        (seccomp.JUMP_ANY_BIT, 0, 2, 0x7E020000),
        deny,
        (seccomp.RETURN, 0, 0, seccomp.ERRNO | 38),
        allow,
    ]
    seccomp.install(seccomp.prepare(program))


def main() -> None:
    arguments = sys.argv[1:]
    repository = Path(__file__).resolve().parents[2]
    show_folders([Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), repository])
    if arguments[0] == "--no-namespaces":
        del arguments[0]
        refuse_namespaces()
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.environ["HOME"] = "/nonexistent"
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main()
