"""Factories that the worker tests start in another process: no framework, noise on every stream, every kind of end."""

import os
import sys
import time

import numpy as np

from converter.errors import BadInput
from converter.judge.runner import NoFloat64


class Doubler:
    def run32(self, arrays):
        print("noise on stdout")
        os.write(1, b"noise on descriptor 1\n")
        print("noise on stderr", file=sys.stderr)
        return [("y", arrays[0] * np.float32(2)), ("n", np.arange(3))]

    def run64(self, arrays):
        if arrays[0].size == 1:
            raise NoFloat64("a cast in the way")
        return [("y", arrays[0] * 2.0), ("n", np.arange(3))]

    def info(self):
        return {"backend": os.environ.get("KERAS_BACKEND"), "cwd on path": "" in sys.path}


class Halves:
    """Answers what it is given, and the dtypes it came in."""

    def run32(self, arrays):
        dtypes = np.array([str(array.dtype) for array in arrays])
        return [*((f"x{i}", array) for i, array in enumerate(arrays)), ("dtypes", dtypes)]


def halves():
    return Halves()


def doubler():
    print("noise while starting")
    return Doubler()


def refuses(path):
    raise BadInput(f"{path} is no model")


def breaks():
    raise ZeroDivisionError("oops")


def dies():
    print("last words", file=sys.stderr, flush=True)
    os._exit(9)


def hangs():
    time.sleep(60)
