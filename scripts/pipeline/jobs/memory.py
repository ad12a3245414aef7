"""What the C library does with memory that is given back to it."""

import ctypes
import sys

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Have freed memory reused instead of handed back to the system.

    By default glibc returns large blocks at once, and every temporary of some megabytes is then
    mapped and cleared page by page again, which takes longer than many a convolution. For jobs that
    do the same again and again. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(_MMAP_MAX, 0)
        adjust(_TRIM_THRESHOLD, 2**31 - 1)
