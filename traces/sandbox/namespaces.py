"""Takes the network, the files and the sight of other processes away from this process (Linux 5.12 or newer).

    leave(write_maps)            # in a process with one thread: new namespaces of users, network, processes, mounts
    child = os.fork()            # the first process of the new namespace: with it, all others end
    build_root(Path("/x"), 64)   # in the child: a root in memory, with the system and Python read-only
    become_nobody()              # in what runs the code: no rights in the namespaces either

No privilege is needed where the system lets users make namespaces; many containers and some distributions do not.
Each step raises OSError that names it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

NOBODY = 65534
"""The user that the code runs as, seen from inside."""
WORK = "/home/code"
"""The folder that the code runs in, seen from inside."""

_NEW_MOUNTS, _NEW_UTS, _NEW_IPC, _NEW_USERS = 0x00020000, 0x04000000, 0x08000000, 0x10000000
_NEW_PIDS, _NEW_NETWORK = 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _BIND, _RECURSIVE, _SLAVE = 2, 4, 8, 4096, 16384, 1 << 19
_MOUNT_SETATTR, _AT_RECURSIVE, _ATTR_RDONLY, _ATTR_NOSUID = 442, 0x8000, 1, 2  # one number on every architecture
_NO_NEW_PRIVS, _DUMPABLE, _DEATH_SIGNAL = 38, 4, 1  # of prctl(2)
_INODES = 10_000

# What programs need of a system to run. Nothing of /etc that could hold a secret.
_SYSTEM = tuple(
    "/usr /bin /sbin /lib /lib32 /lib64 /nix/store /gnu/store"  # noqa: SIM905
    " /etc/ld.so.cache /etc/localtime /etc/alternatives".split()
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@functools.cache
def _libc() -> ctypes.CDLL:
    """Looked up late, so that this module can be imported on systems without one."""
    return ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "users")]


def prctl(option: int, value: int) -> None:
    """prctl(2). Raises OSError."""
    _check(_libc().prctl(option, ctypes.c_ulong(value), *(ctypes.c_ulong(0),) * 3), "prctl")


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this process a signal when the thread that started it ends."""
    prctl(_DEATH_SIGNAL, signal_number)


def leave(write_maps: Callable[[], None]) -> None:
    """Leaves for new namespaces. `write_maps`: has the parent call `map_users` on this process, and waits for it.

    The processes that are forked from now on are in the new namespace of processes; this one is not.
    """
    flags = _NEW_USERS | _NEW_MOUNTS | _NEW_NETWORK | _NEW_PIDS | _NEW_IPC | _NEW_UTS
    _check(_libc().unshare(flags), "unshare")
    write_maps()
    prctl(_DUMPABLE, 0)  # nobody inside may look into this process or its descriptors


def map_users(pid: int) -> None:
    """Says who the users in the namespace of `pid` are; called by its parent.

    Root lends a second user, so that the code has no right to root's files and the limit of processes, which root
    is exempt from, holds. Others can map themselves only, as nobody.
    """
    folder, uid, gid = Path(f"/proc/{pid}"), os.geteuid(), os.getegid()
    if uid == 0:
        with contextlib.suppress(OSError):  # a container's root may lack the right: then as any other user
            two = f"0 0 1\n{NOBODY} {NOBODY} 1"
            (folder / "uid_map").write_text(two)
            (folder / "gid_map").write_text(two)
            return
    (folder / "setgroups").write_text("deny")
    (folder / "uid_map").write_text(f"{NOBODY} {uid} 1")
    (folder / "gid_map").write_text(f"{NOBODY} {gid} 1")


def build_root(root: Path, files_mb: int) -> None:
    """Makes `root` (an empty folder) the root: in memory, with room for `files_mb`, and what `_SYSTEM` names."""
    _mount(None, Path("/"), None, _RECURSIVE | _SLAVE)  # nothing done here is seen outside
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, f"size={files_mb}m,nr_inodes={_INODES},mode=755")
    for path in _visible():
        if path.is_symlink() and str(path) in _SYSTEM and path.is_dir():
            (root / path.relative_to("/")).symlink_to(path.readlink())  # /bin -> usr/bin
        else:
            _bind(root, path, read_only=True)
    for device in _DEVICES:
        _bind(root, Path(device), read_only=False)
    (root / "proc").mkdir()
    with contextlib.suppress(OSError):  # refused in some containers; an empty folder shows no process either
        _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    for name in ("dev/shm", "tmp", WORK[1:]):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    os.chroot(root)
    os.chdir(WORK)


def become_nobody() -> None:
    """Gives up every right in the namespaces; what is executed next gets none back."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    prctl(_NO_NEW_PRIVS, 1)


def _visible() -> Iterator[Path]:
    """What is shown inside, outer folders first: the system, and this Python with its packages."""
    python = Path(sys.executable)
    links = [python]
    while links[-1].is_symlink() and len(links) < 40:
        links.append(links[-1].parent / links[-1].readlink())
    pythons = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_exec_prefix), *(p.parent.parent for p in links)]
    wanted = [*map(Path, _SYSTEM), *pythons, *(path.resolve() for path in pythons)]
    shown: list[Path] = []
    for path in sorted({Path(os.path.abspath(path)) for path in wanted}, key=lambda path: len(path.parts)):
        if path.exists() and path != Path("/") and not any(path.is_relative_to(outer) for outer in shown):
            shown.append(path)
            yield path


def _bind(root: Path, path: Path, *, read_only: bool) -> None:
    """Shows `path` at its place below `root`, which is made."""
    place = root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    _mount(str(path), place, None, _BIND | _RECURSIVE)
    if read_only:
        attributes = _Attributes(set=_ATTR_RDONLY | _ATTR_NOSUID)
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        target = os.fsencode(place)
        done = _libc().syscall(_MOUNT_SETATTR, -100, target, _AT_RECURSIVE, ctypes.byref(attributes), size)
        _check(done, f"mount_setattr {path}")


def _mount(source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, str(target), kind)]
    data = None if options is None else options.encode()
    _check(_libc().mount(*encoded, ctypes.c_ulong(flags), data), f"mount {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
