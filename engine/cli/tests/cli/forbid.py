"""Runs a program under a seccomp filter that answers one errno to each call of io_uring(7), as container runtimes do.

    forbid.py ERRNO PROGRAM [ARGUMENT...]

Exit status 77 if this machine cannot be made to do that.
"""
import ctypes
import os
import struct
import sys

IO_URING_CALLS = range(425, 428)    # io_uring_setup, _enter, _register; on every architecture but alpha
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000


def step(code, jump_true, jump_false, k):
    return struct.pack("HBBI", code, jump_true, jump_false, k)


program = b"".join([
    step(0x20, 0, 0, 0),                            # load the number of the call
    step(0x35, 0, 2, IO_URING_CALLS.start),         # below: skip to the end
    step(0x35, 1, 0, IO_URING_CALLS.stop),          # not below: skip a step
    step(0x06, 0, 0, RET_ERRNO | int(sys.argv[1])),
    step(0x06, 0, 0, RET_ALLOW),
])


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]


prctl = ctypes.CDLL(None, use_errno=True).prctl
given = Filter(len(program) // 8, program)
if (prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0)
        or prctl(PR_SET_SECCOMP, ctypes.c_ulong(MODE_FILTER), ctypes.byref(given), 0, 0)):
    print("no seccomp here:", os.strerror(ctypes.get_errno()), file=sys.stderr)
    sys.exit(77)
os.execvp(sys.argv[2], sys.argv[2:])
