"""The line of stages: the only file that knows which there are and in which order.

    discover → read → check (→ images) → scale (→ dedupe)
             → transfer (→ pad) → forward (→ hidden) → decode (→ explain) → write → publish

A run, `Scorer.score_batches`, the golden replay, `scoreline check`, `bench` and `calibrate` all execute the line that
is composed here. Torch is imported only when a line is composed: planning asks for the names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...schemas.bundle import BundleManifest
from ..features.kinds import kind_of
from ..options import DEFAULTS, ColumnOptions, ScoreJob

if TYPE_CHECKING:
    from ..events import Event
    from ..features.kind import Mapper
    from ..timing import StageTimes
    from .block import Block
    from .loaded import LoadedBundle
    from .stages.stage import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class LineOptions:
    """What a line is composed from beside the bundle. `mapper`: decodes images, in threads where it has them."""

    columns: ColumnOptions = DEFAULTS
    dedupe: bool = False
    mapper: Mapper = map

    @classmethod
    def of(cls, job: ScoreJob) -> LineOptions:
        """What a job asks for."""
        return cls(columns=job.columns, dedupe=job.dedupe)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One stage of the line: its name, whether a line has it, and what makes it. `build` is None for what is timed by
    others: `read` by those that own the reader, `pad` within the forward pass."""

    name: str
    build: Callable[[LoadedBundle, LineOptions], Stage] | None
    wanted: Callable[[BundleManifest, LineOptions], bool] = lambda _manifest, _options: True


def _check(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.check import Check

    return Check(loaded.manifest.features)


def _images(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.images import Images

    return Images([kind_of(entry) for entry in loaded.manifest.inputs], options.mapper)


def _scale(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.scale import Scale

    return Scale(loaded.manifest, limits=loaded.limits, sources=loaded.sources, pin=loaded.device.pins)


def _find_repeats(_: LoadedBundle, __: LineOptions) -> Stage:
    from .stages.dedupe import FindRepeats

    return FindRepeats()


def _transfer(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.transfer import Transfer

    return Transfer(loaded.device)


def _forward(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.dedupe import ForwardFresh
    from .stages.forward import Forward

    forward = Forward(loaded)
    return ForwardFresh(forward) if options.dedupe else forward


def _hidden(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.hidden import Hidden

    assert loaded.hidden is not None, "a scorer is loaded with the layers it is asked for"
    return Hidden(loaded.hidden, loaded.device)


def _decode(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.decode import Decode

    return Decode(loaded.manifest, len(loaded.members), options.columns)


def _explain(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.explain import Explain

    assert loaded.attribution is not None, "a scorer is loaded with the method it is asked for"
    return Explain(loaded.attribution, loaded.device, options.columns)


#: In a reader thread, up to the model's inputs.
LOAD = (
    Entry(name="read", build=None),
    Entry(name="check", build=_check),
    Entry(name="images", build=_images, wanted=lambda m, _: any(kind_of(entry).opens_files for entry in m.inputs)),
    Entry(name="scale", build=_scale),
    Entry(name="dedupe", build=_find_repeats, wanted=lambda _, options: options.dedupe),
)
#: In a lane, from the model's inputs on.
SCORE = (
    Entry(name="transfer", build=_transfer),
    Entry(name="pad", build=None, wanted=lambda m, _: any(kind_of(entry).has_steps for entry in m.inputs)),
    Entry(name="forward", build=_forward),
    Entry(name="hidden", build=_hidden, wanted=lambda _, options: bool(options.columns.hidden)),
    Entry(name="decode", build=_decode),
    Entry(name="explain", build=_explain, wanted=lambda _, options: options.columns.explain is not None),
)
#: In the thread that runs the job, before and behind the others.
FIRST, LAST = ("discover",), ("write", "publish")


def _names(entries: Sequence[Entry], manifest: BundleManifest, options: LineOptions) -> tuple[str, ...]:
    """The stages of some entries that a line has, in order."""
    return tuple(entry.name for entry in entries if entry.wanted(manifest, options))


def stage_names(manifest: BundleManifest, options: LineOptions) -> tuple[str, ...]:
    """Every stage of a run, in the order of the data."""
    return (*FIRST, *_names((*LOAD, *SCORE), manifest, options), *LAST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """`load_stages`: for the blocks of one partition in their order, in one thread; `score_stages`: for any block, in
    any thread. The names are those of every stage that is timed there."""

    load_stages: tuple[Stage, ...]
    score_stages: tuple[Stage, ...]
    load_names: tuple[str, ...]
    score_names: tuple[str, ...]

    def load(self, block: Block) -> Block:
        """As far as the model's inputs. Blocks of a partition come in their order."""
        block = execute(self.load_stages, block)
        if block.origin.first_rows is None:
            return block
        return replace(block, first=block.origin.first_rows.announce(block.num_to_score))

    def score(self, block: Block) -> Block:
        """From the model's inputs to rows and rejects."""
        try:
            return execute(self.score_stages, block)
        except BaseException:
            block.abandon()
            raise

    def score_until(self, name: str) -> tuple[Stage, ...]:
        """The scoring stages up to one, and that."""
        return self.score_stages[: 1 + [stage.name for stage in self.score_stages].index(name)]

    def summary(self, times: StageTimes) -> Iterator[Event]:
        """What the stages have to say at the end of a run."""
        for stage in (*self.load_stages, *self.score_stages):
            yield from stage.summary(times)


def compose(loaded: LoadedBundle, options: LineOptions | None = None) -> Line:
    """The stages that a bundle and its options ask for.

    Raises:
        BundleError: a stage needs a package that is not installed.
    """
    options = LineOptions() if options is None else options

    def built(entries: Sequence[Entry]) -> tuple[Stage, ...]:
        wanted = [entry for entry in entries if entry.wanted(loaded.manifest, options)]
        return tuple(entry.build(loaded, options) for entry in wanted if entry.build is not None)

    return Line(
        load_stages=built(LOAD),
        score_stages=built(SCORE),
        load_names=_names(LOAD, loaded.manifest, options),
        score_names=_names(SCORE, loaded.manifest, options),
    )


def execute(stages: Sequence[Stage], block: Block) -> Block:
    """One block through some stages, each timed by the block's own clock, in the modes of torch that scoring takes; the
    caller's are back afterwards."""
    from ..model.modes import pinned  # torch, which is here once there is a block

    with pinned():
        for stage in stages:
            with block.times.stage(stage.name) as spent:
                block = stage(block)
            spent.rows += block.num_rows
            spent.bytes += block.num_bytes
            if block.device_s:  # the clock on the wall has measured the queue as well
                for name, seconds in block.device_s.items():
                    block.times[name].busy_s, block.times[name].rows = seconds, block.num_rows
                block = replace(block, device_s={})
    return block
