"""Loads the models of a bundle on a device, in the layout that reproduces the golden rows, with the models as saved for
hidden layers and attributions. A run on several devices has one such replica on each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from torch import nn

from ..bundle.bundle import Bundle
from ..bundle.explain import find_explain_target
from ..bundle.golden import GoldenRows, read_golden
from ..bundle.layers import HiddenColumn, hidden_columns
from ..errors import BundleError
from ..features.text_encoder import TextEncoder, open_encoders
from ..model.devices import Device, open_others
from ..model.loading import load_members
from ..model.memory import loading
from ..model.precision import precision_mismatch
from ..model.tf32 import refuse_without_tf32
from ..options import Explain, Precision
from .explaining.attribution import load_attribution
from .loaded import LoadedBundle, on_device
from .replay import GoldenReport, probe, settle_layout
from .stages.hidden import HiddenLayers


@dataclass(frozen=True, kw_only=True)
class ReplicaSpec:
    """What is loaded, the same on every device: the arguments of `Scorer.load`."""

    bundle: Bundle
    trust: Collection[str] = ()
    precision: Precision = "fp32"
    batch_rows: int | None = None
    hidden: Sequence[str] = ()
    explain: Explain | None = None

    @cached_property
    def golden(self) -> GoldenRows:
        """The bundle's golden rows."""
        manifest = self.bundle.manifest
        names = [feature.name for feature in manifest.features]
        return read_golden(self.bundle.read(manifest.golden.file), names, [head.name for head in manifest.heads])

    @cached_property
    def encoders(self) -> Sequence[TextEncoder]:
        """The encoders of the inputs of text, which all devices share."""
        return open_encoders(self.bundle.manifest.inputs, self.bundle.read)


def load_replica(spec: ReplicaSpec, device: Device) -> tuple[LoadedBundle, GoldenReport]:
    """Load the models on a device, and replay the golden rows there. Raises as `Scorer.load` does."""
    with loading(device.torch):
        return _load_replica(spec, device)


def _load_replica(spec: ReplicaSpec, device: Device) -> tuple[LoadedBundle, GoldenReport]:
    refuse_without_tf32(spec.precision, device.torch)
    bundle = spec.bundle
    if spec.explain is not None:
        find_explain_target(bundle.manifest, spec.explain)  # refuses bundles without attributions

    def load(precision: Precision, channels_last: bool) -> LoadedBundle:
        members = load_members(bundle, device=device.torch, trust=spec.trust)
        return on_device(
            bundle.manifest, members, device,
            precision=precision, batch_rows=spec.batch_rows, channels_last=channels_last, encoders=spec.encoders,
        )  # fmt: skip

    try:
        loaded, report = _settled(load, spec.precision, spec.golden)
    except BundleError as error:
        if spec.precision == "fp32":
            raise
        largest = _settled(load, "fp32", spec.golden)[1].largest_difference
        raise precision_mismatch(error, spec.precision, largest) from error
    columns = hidden_columns(bundle.manifest, spec.hidden)
    if spec.hidden or spec.explain is not None:
        saved = load_members(bundle, device=device.torch, trust=spec.trust, as_saved=True)
        _keep_models(loaded, [member.module.to(device.torch) for member in saved], spec, columns)
    return loaded, report


def load_others(spec: ReplicaSpec, first: LoadedBundle, name: str) -> Iterator[tuple[LoadedBundle, GoldenReport]]:
    """The models on the other devices that a name means, each with its replay of the golden rows. Attributions are
    counted together with those of the first. Raises as `load_replica` does, and names the device."""
    for device in open_others(name):
        try:
            loaded, report = load_replica(spec, device)
        except BundleError as error:
            error.args = (f"on {device.torch}: {error}",)
            raise
        if loaded.attribution is not None and first.attribution is not None:
            loaded.attribution.count_with(first.attribution)
        yield loaded, report


def compile_replicas(replicas: Sequence[LoadedBundle], golden: GoldenRows) -> str | None:
    """Compile the models of all replicas, or of none. Returns the reason why they are not compiled."""
    for loaded in replicas:
        if loaded.members.compiled:
            continue
        if (reason := loaded.members.compile(partial(probe, loaded, golden))) is not None:
            for one in replicas:
                one.members.use_plain()
            return reason
    return None


def _settled(
    load: Callable[[Precision, bool], LoadedBundle], precision: Precision, golden: GoldenRows
) -> tuple[LoadedBundle, GoldenReport]:
    """Load the models and replay the golden rows; with the channels first for models that cannot view the other
    layout."""
    loaded = load(precision, True)
    try:
        return loaded, settle_layout(loaded, golden)
    except BundleError:
        if not loaded.members.passes.channels_last:
            raise
    loaded = load(precision, False)
    return loaded, settle_layout(loaded, golden)


def _keep_models(
    loaded: LoadedBundle, models: Sequence[nn.Module], spec: ReplicaSpec, columns: Sequence[HiddenColumn]
) -> None:
    """Keep the models as saved, for hidden layers and attributions."""
    if columns:
        loaded.hidden = HiddenLayers(models, columns, call=loaded.manifest.call, passes=loaded.members.passes)
    if spec.explain is not None:
        loaded.attribution = load_attribution(loaded, models, spec.explain, spec.golden.features)
