"""JSON of a model file: bounded in the values that it makes in memory, and without text that no file could hold."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from converter.errors import BadInput

MOST_VALUES = 10_000_000
"""Every value costs up to some hundred bytes in memory, were it two in the file; large models have a tenth of these."""
ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half a character, which JSON can spell and UTF-8 cannot."""


def parsed(text: bytes | str, what: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text; BadInput, which begins with `what`, where it cannot be read within bounds."""
    try:
        data = text.encode() if isinstance(text, str) else text
        if sum(map(data.count, (b",", b"[", b"{"))) > MOST_VALUES:
            raise BadInput(f"{what}: it holds more than {MOST_VALUES} values. The file is damaged or hostile.")
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=pairs)
        if ESCAPED.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"{what}: it holds text with half a character ({error.object[error.start : error.end]!a})"
        raise BadInput(f"{half}, which cannot be written anywhere. The file is damaged.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{what}: expected JSON of bounded depth, but it cannot be read ({error}).") from error
    return value
