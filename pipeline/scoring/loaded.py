"""A bundle's models on their device, with everything else that the stages need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from ...schemas.bundle import BundleManifest
from ..features.kinds import kind_of
from ..features.program import origins
from ..graph.facts import index_limits, needs_rows, overwrites
from ..model.blocks import block_size
from ..model.devices import Device
from ..model.loading import LoadedMember
from ..model.members import Members
from ..model.onednn import use_onednn
from ..model.precision import HALF, make_channels_last, reduced
from ..options import Precision
from ..records import Sent
from ..tasks.tasks import task_of
from .batches import RawBatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..features.expressions.engine import Engine
    from ..features.text_encoder import TextEncoder
    from ..monitoring.layout import Layout
    from .explaining.attribution import Attribution
    from .stages.hidden import HiddenLayers


@dataclass(kw_only=True)
class LoadedBundle:
    """A bundle's models on their device.

    `limits`: embedding sizes by the column that indexes them; `sources`: the raw feature of each column; `block_rows`,
    `block_reason`: the number of rows of a block, and why; `folded`, `dropped`: the number of layers that were folded
    into others, or dropped because eval mode does not need them; `encoders`: of the inputs of text; `hidden`,
    `attribution`, `layout` (of the profile): None if not requested; `block_bytes`: the device's memory that a block in
    flight takes, 0 if it has not been measured; `waits`: whether a model waits for a GPU while it runs, or may;
    `engines`: those for expressions that no line uses at the moment; `lanes`: those that are open.
    """

    manifest: BundleManifest
    device: Device
    members: Members
    precision: Precision
    limits: Mapping[str, int]
    block_rows: int
    block_reason: str
    folded: int = 0
    dropped: int = 0
    encoders: Sequence[TextEncoder] = ()
    hidden: HiddenLayers | None = None
    attribution: Attribution | None = None
    layout: Layout | None = None
    block_bytes: int = 0
    waits: bool = False
    engines: list[Engine] = field(default_factory=list)
    lanes: list[LoadedBundle] = field(default_factory=list)

    def on_lanes(self, number: int) -> list[LoadedBundle]:
        """The same models for some blocks in flight. Later calls return the same ones: a device has memory for each."""
        while len(self.lanes) < number:
            self.lanes.append(replace(self, device=self.device.lane(), lanes=[]))
        return self.lanes[:number]

    def need_layout(self) -> Layout:
        """The layout of the profile, for a line that counts rows."""
        assert self.layout is not None, "the scorer was loaded with the layout"
        return self.layout

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """The raw feature of each column."""
        tokens = {entry.prepared[0]: entry.columns[0] for entry in self.manifest.inputs if entry.kind == "text"}
        return origins(self.manifest.model_features, self.manifest.steps) | tokens

    def run(self, sent: Sent, rows: NDArray[np.int64] | None = None) -> RawBatch:
        """The raw outputs of rows that were sent to the device, at the positions in `rows` (None: all of them).

        Raises whatever the model raises.
        """
        clock = self.device.clock()
        fetched = self.device.work(sent, lambda inputs: self.members.run(inputs, clock), rows, clock, waits=self.waits)
        measured = {**fetched.device_s, **clock.seconds} if fetched.device_s or self.members.passes.pads else {}
        return RawBatch(heads=fetched.tensors, device_s=measured)

    def no_rows(self) -> RawBatch:
        """Empty raw outputs, of 0 rows."""
        return RawBatch(heads={head.name: task_of(head).no_rows(len(self.members)) for head in self.manifest.heads})

    def values_per_row(self) -> int:
        """The number of values in flight for one row: the model's inputs and outputs."""
        inputs = sum(kind_of(entry).values_per_row for entry in self.manifest.inputs)
        outputs = sum(task_of(head).values_per_row(self.manifest.longest) for head in self.manifest.heads)
        return inputs + outputs * len(self.members)


def on_device(
    manifest: BundleManifest,
    members: Sequence[LoadedMember],
    device: Device,
    *,
    precision: Precision = "fp32",
    batch_rows: int | None = None,
    channels_last: bool = True,
    encoders: Sequence[TextEncoder] = (),
) -> LoadedBundle:
    """Move models that were loaded from a bundle to a device.

    Args:
        channels_last: lay out images and the weights of convolutions channels last where a GPU computes in half
            precision, whose fast kernels need that.
        encoders: those of the inputs of text.
    """
    graphs = [member.graph for member in members if member.graph is not None]
    size = block_size(manifest, graphs, device.torch.type, batch_rows)
    images = any(kind_of(entry).opens_files for entry in manifest.inputs)
    channels_last = channels_last and images and precision in HALF and device.torch.type == "cuda"
    reduced_models = [reduced(member.module, precision) for member in members]
    if channels_last:
        for model in reduced_models:
            make_channels_last(model)
    models: list[nn.Module] = [model.to(device.torch) for model in reduced_models]
    if precision == "fp32":
        for model in models:
            use_onednn(model, device.torch)
    ready = Members(
        models, manifest.inputs, manifest.heads, call=manifest.call, device=device.torch, pass_rows=size.pass_rows,
        tf32=precision == "tf32",
    )  # fmt: skip
    ready.passes.channels_last = channels_last
    ready.passes.contiguous |= any(member.graph is not None and needs_rows(member.graph) for member in members)
    ready.keep_inputs = any(member.graph is None or overwrites(member.graph) for member in members)
    return LoadedBundle(
        manifest=manifest,
        device=device,
        members=ready,
        precision=precision,
        limits=index_limits(manifest, graphs),
        block_rows=size.rows,
        block_reason=size.reason,
        folded=sum(member.folded for member in members),
        dropped=sum(member.dropped for member in members),
        encoders=encoders,
        waits=task_of(manifest.heads[0]).generates or any(member.graph is None for member in members),
    )
