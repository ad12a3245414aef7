"""Seeds derived from what should matter, so that no two random streams share one by accident."""

import hashlib


def derive_seed(root: int, purpose: str, **axes: int) -> int:
    """A 31-bit seed for ``purpose`` at the given axes (``width=64, seed=0``), any order."""
    named = ",".join(f"{name}={value}" for name, value in sorted(axes.items()))
    digest = hashlib.blake2b(f"{root}/{purpose}/{named}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
