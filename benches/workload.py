"""What every contestant runs: `true` of busybox, or a `sleep` without end, with these limits."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile

IMAGE = "pycontain-bench"
COMMAND = ["true"]
SLEEP = ["sleep", "inf"]
MEMORY = "256m"
MEMORY_BYTES = 256 << 20
PIDS = 128


def make_root_file_system(directory: str) -> str | None:
    """A root file system of a static busybox and a hard link for each applet; else why not."""
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), None)
    if busybox is None:
        return "busybox is not installed"
    libraries = subprocess.run(["ldd", busybox], check=False, capture_output=True, text=True)
    if "=>" in libraries.stdout:
        return f"`{busybox}` is not static: install busybox-static"
    for name in "bin dev etc proc root sys tmp".split():
        os.makedirs(f"{directory}/{name}")
    shutil.copy(busybox, f"{directory}/bin/busybox")
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for applet in set(listed.stdout.split()) - {"busybox"}:
        os.link(f"{directory}/bin/busybox", f"{directory}/bin/{applet}")
    with open(f"{directory}/etc/passwd", "w") as passwd:
        passwd.write("root:x:0:0:root:/root:/bin/sh\n")
    return None


def make_image(directory: str, archive: str) -> None:
    """A tar of the root file system, for those that import one."""
    with tarfile.open(archive, "w") as tar:
        tar.add(directory, arcname=".")
