"""An audit hook that notes whatever a reader of data has no business with: processes, sockets, writes elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

ALWAYS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "subprocess.Popen",
    "pty.spawn",
    "socket.connect",
    "socket.bind",
)
PLACES = {"os.remove": 0, "os.rmdir": 0, "os.rename": 1, "os.symlink": 1, "os.link": 1, "os.truncate": 0}
IMPORTS = ("uname", "/sbin/ldconfig")
"""What the frameworks' own imports ask the system."""
LOCAL = (("::1", 0), ("127.0.0.1", 0))
"""Where they try whether there is a network."""
seen: list[str] = []
_on = [False]


def install(folders: list[str], processes: bool = False) -> None:
    """Note every event outside of the folders; with `processes` those of starting processes are expected."""
    roots = [os.path.realpath(folder) + os.sep for folder in [*folders, "/dev/null", "/dev/shm", "/proc/self"]]

    def inside(path: Any) -> bool:
        if isinstance(path, int):
            return True
        real = os.path.realpath(os.fsdecode(path)) + os.sep
        return any(real.startswith(root) for root in roots)

    def placed(path: Any, folder: Any) -> Any:
        if not isinstance(folder, int) or folder < 0:
            return path
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not _on[0]:
            return
        if event == "subprocess.Popen" and arguments[0] in IMPORTS:
            return
        if event == "socket.bind" and tuple(arguments[1][:2]) in LOCAL:
            return
        if event.startswith(ALWAYS) and not processes:
            seen.append(f"{event} {str(arguments)[:200]}")
        elif event == "open":
            path, mode, flags = arguments
            writes = (
                any(letter in mode for letter in "wax+")
                if mode
                else bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            )
            if writes and not inside(path):
                seen.append(f"open {path!r} {mode or flags}")
        elif event in PLACES and not inside(placed(arguments[PLACES[event]], arguments[-1])):
            seen.append(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(hook)
    _on[0] = True


def main() -> None:
    """python -m tests.fuzz.watch LOG FOLDER ARGUMENTS...: the command line, its events written to LOG at the end."""
    import atexit

    log, folder, *arguments = sys.argv[1:]

    def tell() -> None:
        _on[0] = False
        Path(log).write_text("\n".join(seen))

    install([folder], processes="--inputs" in arguments)
    atexit.register(tell)
    from converter.cli import main as run

    run(arguments)


if __name__ == "__main__":
    main()
