"""The line of stages. The only module that defines which stages exist, and their order.

    discover → read → check (→ expressions) (→ profile) (→ images) (→ tokenize) → scale (→ dedupe)
             → transfer (→ pad) → forward (→ hidden) → decode (→ profile_outputs) (→ explain) (→ constants)
             → write → publish

A run, `Scorer.score_batches`, the golden replay, `scoreline check`, `bench` and `calibrate` all execute the line that
is composed here. Torch is imported only when a line is composed, since planning needs the names alone.
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
    """The options that a line is composed from. `mapper`: the map function for decoding images, which may use
    threads. `profile`: whether rows are counted; needs a bundle with a reference, loaded with it."""

    columns: ColumnOptions = DEFAULTS
    dedupe: bool = False
    profile: bool = False
    mapper: Mapper = map

    @classmethod
    def of(cls, job: ScoreJob) -> LineOptions:
        """The line options of a job."""
        return cls(columns=job.columns, dedupe=job.dedupe, profile=job.profile)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One stage of the line: its name, whether a line includes it, and its factory. `build` is None for stages that are
    timed elsewhere: `read` by the owner of the reader, `pad` within the forward pass. `by_row`: whether it keeps
    nothing between blocks and gives each row the same bits whatever rows are beside it, so that files may share a
    block; `forward` does so by running once for each file."""

    name: str
    build: Callable[[LoadedBundle, LineOptions], Stage] | None
    by_row: bool = False
    wanted: Callable[[BundleManifest, LineOptions], bool] = lambda _manifest, _options: True


def _check(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.check import Check

    return Check(loaded.manifest.features)


def _expressions(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.expressions import Expressions

    return Expressions(loaded.manifest, loaded.engines)


def _profile(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.profile import ProfileFeatures

    return ProfileFeatures(loaded.need_layout())


def _images(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.images import Images

    return Images([kind_of(entry) for entry in loaded.manifest.inputs], options.mapper, pin=loaded.device.pins)


def _tokenize(loaded: LoadedBundle, _: LineOptions) -> Stage:
    from .stages.tokenize import Tokenize

    return Tokenize(loaded.encoders, pin=loaded.device.pins)


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

    assert loaded.hidden is not None, "the scorer was loaded with the hidden layers"
    return Hidden(loaded.hidden, loaded.device)


def _decode(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.decode import Decode

    return Decode(loaded.manifest, len(loaded.members), options.columns)


def _profile_outputs(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.profile import ProfileOutputs

    return ProfileOutputs(loaded.need_layout(), loaded.manifest, options.columns)


def _explain(loaded: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.explain import Explain

    assert loaded.attribution is not None, "the scorer was loaded with the attribution"
    return Explain(loaded.attribution, loaded.device, options.columns)


def _constants(_: LoadedBundle, options: LineOptions) -> Stage:
    from .stages.constants import Constants

    return Constants(tuple(value for _, value in options.columns.constants))


def _is_profiled(manifest: BundleManifest, options: LineOptions) -> bool:
    return options.profile and manifest.reference is not None


#: Up to the model's inputs, in the thread that reads.
LOAD = (
    Entry(name="read", build=None, by_row=True),
    Entry(name="check", build=_check, by_row=True),
    Entry(name="expressions", build=_expressions, wanted=lambda m, _: bool(m.expressions)),
    Entry(name="profile", build=_profile, by_row=True, wanted=_is_profiled),
    Entry(name="images", build=_images, wanted=lambda m, _: any(kind_of(entry).opens_files for entry in m.inputs)),
    Entry(name="tokenize", build=_tokenize, wanted=lambda m, _: any(entry.kind == "text" for entry in m.inputs)),
    Entry(name="scale", build=_scale, by_row=True),
    Entry(name="dedupe", build=_find_repeats, wanted=lambda _, options: options.dedupe),
)
#: From the model's inputs on, in any thread.
SCORE = (
    Entry(name="transfer", build=_transfer, by_row=True),
    Entry(name="pad", build=None, wanted=lambda m, _: any(kind_of(entry).has_steps for entry in m.inputs)),
    Entry(name="forward", build=_forward, by_row=True),
    Entry(name="hidden", build=_hidden, wanted=lambda _, options: bool(options.columns.hidden)),
    Entry(name="decode", build=_decode, by_row=True),
    Entry(name="profile_outputs", build=_profile_outputs, by_row=True, wanted=_is_profiled),
    Entry(name="explain", build=_explain, wanted=lambda _, options: options.columns.explain is not None),
    Entry(name="constants", build=_constants, by_row=True, wanted=lambda _, options: bool(options.columns.constants)),
)
#: Timed where they are done, before the line and after it.
FIRST, LAST = ("discover",), ("write", "publish")


def _names(entries: Sequence[Entry], manifest: BundleManifest, options: LineOptions) -> tuple[str, ...]:
    """The names of the entries that a line includes, in order."""
    return tuple(entry.name for entry in entries if entry.wanted(manifest, options))


def stage_names(manifest: BundleManifest, options: LineOptions) -> tuple[str, ...]:
    """The names of all stages of a run, in execution order."""
    return (*FIRST, *_names((*LOAD, *SCORE), manifest, options), *LAST)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """`load_stages`: for the blocks of one partition in order, in one thread; `score_stages`: for any block, in any
    thread. `load_names`, `score_names`: the names of all stages that are timed in each. `by_row`: whether all entries
    are."""

    load_stages: tuple[Stage, ...]
    score_stages: tuple[Stage, ...]
    load_names: tuple[str, ...]
    score_names: tuple[str, ...]
    by_row: bool

    def load(self, block: Block) -> Block:
        """Run the stages up to the model's inputs. Blocks of a partition must come in order."""
        block = execute(self.load_stages, block)
        if block.origin.first_rows is None:
            return block
        return replace(block, first=block.origin.first_rows.announce(block.num_to_score))

    def score(self, block: Block) -> Block:
        """Run the stages from the model's inputs to rows and rejects."""
        try:
            return execute(self.score_stages, block)
        except BaseException:
            block.abandon()
            raise

    @property
    def opens_files(self) -> bool:
        """Whether a stage opens a file for each row."""
        return any(stage.opens_files for stage in self.load_stages)

    def score_until(self, name: str) -> tuple[Stage, ...]:
        """The scoring stages up to and including the named one."""
        return self.score_stages[: 1 + [stage.name for stage in self.score_stages].index(name)]

    def summary(self, times: StageTimes) -> Iterator[Event]:
        """The stages' events at the end of a run."""
        for stage in (*self.load_stages, *self.score_stages):
            yield from stage.summary(times)


def compose(loaded: LoadedBundle, options: LineOptions | None = None) -> Line:
    """Compose the stages for a bundle and options. Rows are counted only if the scorer was loaded for a job
    (`Scorer.for_job`), with the layout of the counts.

    Raises:
        BundleError: a stage needs a package that is not installed.
    """
    options = LineOptions() if options is None else options
    options = replace(options, profile=options.profile and loaded.layout is not None)

    def built(entries: Sequence[Entry]) -> tuple[Stage, ...]:
        wanted = [entry for entry in entries if entry.wanted(loaded.manifest, options)]
        return tuple(entry.build(loaded, options) for entry in wanted if entry.build is not None)

    return Line(
        load_stages=built(LOAD),
        score_stages=built(SCORE),
        load_names=_names(LOAD, loaded.manifest, options),
        score_names=_names(SCORE, loaded.manifest, options),
        by_row=all(entry.by_row for entry in (*LOAD, *SCORE) if entry.wanted(loaded.manifest, options)),
    )


def execute(stages: Sequence[Stage], block: Block) -> Block:
    """Run one block through some stages, each timed by the block's own clock. Sets torch's global modes for scoring,
    and restores the caller's."""
    from ..model.modes import pinned  # imports torch

    with pinned():
        for stage in stages:
            with block.times.stage(stage.name) as spent:
                block = stage(block)
            spent.rows += block.num_rows
            spent.bytes += block.num_bytes
            if block.device_s:  # wall-clock time includes the wait in the queue
                for name, seconds in block.device_s.items():
                    block.times[name].busy_s, block.times[name].rows = seconds, block.num_rows
                block = replace(block, device_s={})
    return block
