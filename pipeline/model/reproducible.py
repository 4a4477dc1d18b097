"""Seeds the random number generators, and disables kernels whose last bits vary between runs. Independent of models."""

import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ..errors import BundleError, ModelFailedError, UsageError


@contextmanager
def reproducible(*, seed: int, deterministic: bool) -> Iterator[None]:
    """Seed torch, numpy and Python, and with `deterministic` allow only deterministic kernels; restore both afterwards.

    Raises:
        UsageError: the model uses an operation without a deterministic version; names it.
    """
    before = torch.are_deterministic_algorithms_enabled(), random.getstate(), np.random.get_state()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when a GPU is first used
        torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    except (BundleError, ModelFailedError) as error:
        found = re.search(r"(\S+) does not have a deterministic implementation", str(error))
        if found is None:
            raise
        raise UsageError(
            f"--deterministic: the model calls {found[1]}, which has no deterministic version; leave --deterministic"
            " out, or change the model"
        ) from error
    finally:
        if deterministic:  # half a second: torch imports its compiler for it
            torch.use_deterministic_algorithms(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
