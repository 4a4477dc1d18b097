"""Calls ATen operators with random arguments, as a hostile graph might: `python operator_calls.py SEED SECONDS`.

Prints how many calls were made and how many returned. Ends with an error if a result is larger than the bound that was
computed before the call. Each call is written to a file first, whose path is printed to stderr, so that one that ends
the process can be found.
"""

import random
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from scoreline.pipeline.graph.checked import checked
from scoreline.pipeline.graph.operator_bounds import most_numbers_of_operator
from scoreline.pipeline.graph.operators import operators, sets_storage, short_name
from scoreline.pipeline.graph.result_sizes import tensors_of

SIZES = (0, 1, 2, 3, -1, -2, 4, 7)
LARGE = (100, 2**31, -(2**31), 2**62, -(2**63))
TEXTS = ("floor", "trunc", "tanh", "none", "ij,jk->ik", "...i,i->...", "constant", "reflect", "sum", "amax")
#: The most numbers of a result that is computed; larger ones are refused before they run.
MOST = 1 << 24


def tensor(draw: random.Random) -> torch.Tensor:
    """A small tensor of some type, possibly empty."""
    shape = [draw.choice((0, 1, 2, 3, 4, 6)) for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 3, 4)))]
    made = (torch.randn(shape), torch.randint(-3, 9, shape), torch.rand(shape) > 0.5, torch.randn(shape).double())
    return draw.choices(made, (6, 3, 1, 1))[0]


def value(draw: random.Random, kind: str) -> Any:
    """A value of a type of torch's schemas."""
    if kind.startswith("Optional["):
        return None if draw.random() < 0.5 else value(draw, kind[9:-1])
    if kind.startswith("List["):
        return [value(draw, kind[5:-1]) for _ in range(draw.choice((1, 1, 2, 2, 3, 4)))]
    choices: dict[str, Any] = {
        "int": draw.choice(SIZES + LARGE if draw.random() < 0.2 else SIZES),
        "float": draw.choice((0.0, 0.5, 1e-5, -1.0, float("inf"), float("nan"))),
        "number": draw.choice((0, 1, 2.5, -1, True)),
        "bool": draw.random() < 0.5,
        "str": draw.choice(TEXTS),
        "ScalarType": draw.choice((torch.float32, torch.int64, torch.bool, torch.float16)),
    }
    return tensor(draw) if kind == "Tensor" else choices[kind]


def arguments(draw: random.Random, schema: Any) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of the right types; some of those that have defaults are left out."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for argument in schema.arguments:
        if sets_storage(argument.name):
            continue
        if argument.has_default_value() and draw.random() < 0.5:
            if argument.kwarg_only:
                continue
            break
        made = value(draw, str(argument.real_type))
        if argument.kwarg_only:
            kwargs[argument.name] = made
        else:
            args.append(made)
    return args, kwargs


def main() -> None:
    """Call operators until the time is over."""
    draw, until = random.Random(int(sys.argv[1])), time.monotonic() + float(sys.argv[2])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    names, last = sorted(operators()), Path(tempfile.mkstemp(suffix="_last_call")[1])
    sys.stderr.write(f"{last}\n")
    calls = returned = 0
    while time.monotonic() < until:
        name = draw.choice(names)
        operator, run = operators()[name], checked().get(name, operators()[name])
        args, kwargs = arguments(draw, operator._schema)
        last.write_text(repr((name, args, kwargs)))
        calls += 1
        with torch.inference_mode():
            try:
                most = most_numbers_of_operator(operator, short_name(name), args, kwargs)
                result = run(*args, **kwargs) if most <= MOST else None
            except Exception:  # arguments that it does not accept
                continue
        made = sum(tensor.numel() for tensor in tensors_of([result]))
        assert made <= most, (name, made, most)
        returned += result is not None
    last.unlink()
    sys.stdout.write(f"{calls} {returned}\n")


if __name__ == "__main__":
    main()
