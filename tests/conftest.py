"""The Keras backend of the test process, and seeds."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests run side by side, and their threads would fight

import random

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same global RNG state."""
    random.seed(0)
    np.random.seed(0)
    import torch

    torch.manual_seed(0)
