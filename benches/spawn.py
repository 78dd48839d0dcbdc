"""Starts a program at every line `go`, and answers with its milliseconds: from the spawn until it is reaped.

usage: spawn.py PROGRAM [ARGUMENT...]

`{}` in an argument stands for a number that no other start has. The program's input and output are /dev/null.
This process is small and does nothing else, so a rival is not charged for what the bench itself holds. When
the program fails, what it said comes to stderr and this process ends.
"""

import os
import sys
import time


def main() -> int:
    program, null, errors = sys.argv[1], os.open("/dev/null", os.O_RDWR), os.memfd_create("stderr")
    streams = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate((null, null, errors))]
    environment = dict(os.environ)
    for number, _ in enumerate(sys.stdin):
        arguments = [argument.replace("{}", f"{os.getpid()}-{number}") for argument in sys.argv[1:]]
        began = time.perf_counter()
        pid = os.posix_spawnp(program, arguments, environment, file_actions=streams)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        took = time.perf_counter() - began
        if status != 0:
            said = os.pread(errors, 65536, 0).decode(errors="replace").strip()
            print(f"`{' '.join(arguments)}` ended with {status}: {said}", file=sys.stderr)
            return 1
        print(f"{took * 1e3:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
