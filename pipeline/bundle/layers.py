"""Resolves names of layers to the columns of their results. Does not import torch."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

import pyarrow as pa

from ...schemas.bundle import BundleManifest
from ...schemas.members import GraphMember, LayerRecord
from ..errors import UsageError
from ..features.kinds import kind_of
from ..options import ColumnOptions, ScoreJob
from ..tasks.tasks import task_of


@dataclass(frozen=True, kw_only=True, slots=True)
class HiddenColumn:
    """A column with the results of a hidden layer. `member`: the index of its member; `node`: the node that computes
    them; `width`: numbers per row."""

    name: str
    member: int
    node: str
    width: int


def layer_names(layers: Sequence[tuple[str, str]]) -> list[str]:
    """How layers are shown to users, in order: by the path of the module, as in `named_modules()`, or by the step if
    the module is called several times or its path is the name of another step.

    Args:
        layers: of each layer its step and what the step calls.
    """
    times, steps = Counter(calls for _, calls in layers), {step for step, _ in layers}
    return [calls if times[calls] == 1 and (calls == step or calls not in steps) else step for step, calls in layers]


def hidden_columns(manifest: BundleManifest, names: Sequence[str]) -> list[HiddenColumn]:
    """The columns for `--hidden`, in order: `hidden_<step>`, or `hidden_<step>_<member>` for every member of an
    ensemble.

    Args:
        names: layers as `scoreline layers` lists them: a step, or what it calls if that is called once.

    Raises:
        UsageError: there is no such layer; names similar ones.
    """
    if names and any(task_of(head).generates for head in manifest.heads):
        raise UsageError(
            "--hidden is for models that run once per row, not once per token as in generation; leave it out"
        )
    columns = []
    several = len(manifest.members) > 1
    for name in names:
        for index, member in enumerate(manifest.members):
            if any(kind_of(entry).has_steps for entry in manifest.inputs):
                raise UsageError(
                    "--hidden needs layers of a fixed width, and those of sequences vary in length; leave it out"
                )
            layer = _found(member.layers if isinstance(member, GraphMember) else [], name)
            column = column_name(layer.name, index if several else None)
            columns.append(HiddenColumn(name=column, member=index, node=layer.name, width=prod(layer.shape)))
    if len({column.name for column in columns}) < len(columns):
        raise UsageError(f"--hidden names a layer twice, among {', '.join(names)}")
    return columns


def column_name(step: str, member: int | None) -> str:
    """The column of a step, an identifier. `member`: its index in an ensemble."""
    return f"hidden_{step}" if member is None else f"hidden_{step}_{member}"


def hidden_fields(manifest: BundleManifest, options: ColumnOptions) -> list[pa.Field]:
    """The fields of hidden columns: fixed-size lists of float32. Raises as `hidden_columns` does."""
    columns = hidden_columns(manifest, options.hidden)
    return [pa.field(column.name, pa.list_(pa.float32(), column.width)) for column in columns]


def hidden_option(job: ScoreJob) -> str | None:
    """The names of the layers as an entry of the fingerprint."""
    return json.dumps(job.columns.hidden) if job.columns.hidden else None


def _found(layers: Sequence[LayerRecord], name: str) -> LayerRecord:
    if not layers:
        raise UsageError(
            "--hidden is for models kept as data, and this bundle does not list its layers; save the module itself with"
            " save_bundle"
        )
    by_name = [layer for layer in layers if layer.name == name] or [layer for layer in layers if layer.calls == name]
    if len(by_name) == 1:
        return by_name[0]
    if by_name:
        raise UsageError(
            f"--hidden {name!r} is called {len(by_name)} times; use one of {', '.join(layer.name for layer in by_name)}"
        )
    shown, steps = layer_names([(layer.name, layer.calls) for layer in layers]), [layer.name for layer in layers]
    close = get_close_matches(name, shown, n=3) or get_close_matches(name, steps, n=3)
    advice = f"did you mean {', '.join(close)}?" if close else f"the first are {', '.join(shown[:3])};"
    raise UsageError(f"--hidden {name!r} is not a layer; {advice} scoreline layers lists all")
