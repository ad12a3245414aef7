"""Long values on a command line, of which Linux takes no more than 128 KiB in one piece."""

import base64
import json
import zlib
from typing import Any

AFFECTS_RESULTS = False  # see pipeline.provenance.fingerprint

LONG = 20_000
"""Characters of JSON that are still handed over as they are."""

_MARK = "zlib:"


def packed(value: Any, long: int = LONG) -> str:
    """JSON of ``value``, compressed where it is long: ten thousand runs have 3 MB and become 60 kB."""
    text = json.dumps(value)
    if len(text) <= long:
        return text
    return _MARK + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(text: str) -> Any:
    """What :func:`packed` was given."""
    if text.startswith(_MARK):
        text = zlib.decompress(base64.b64decode(text.removeprefix(_MARK))).decode()
    return json.loads(text)
