"""The pure core: check, scale, transfer, forward, decode. It touches no file, clock or process once loaded.

`running/run.py` times these five; `score_batches`, a notebook or another engine compose the same five, so the same
bundle gives the same answer everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from ...schemas.bundle import BundleManifest
from ...schemas.heads import GenerationHead, TaggingHead
from ...schemas.inputs import ImageInput, SequenceInput, TableInput
from ..arrays import to_arrow
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.columns import key_names, output_fields
from ..bundle.golden import WIDER, GoldenRows, Raw, compare, read_golden
from ..bundle.heads import head_width, with_thresholds
from ..bundle.layers import HiddenColumn, hidden_columns
from ..errors import (
    BundleError,
    ColumnError,
    GoldenMismatchError,
    ModelFailedError,
    RowsRejectedError,
    ScorelineError,
    UsageError,
    one_line,
)
from ..features.images import open_images, require_pillow
from ..features.kind import Mapper
from ..features.program import origins
from ..features.tensors import scale_batch
from ..frames import arrow_table, is_arrow, is_pandas, pandas_columns, without_views
from ..graph.facts import index_limits, overwrites
from ..graph.interpreter import GraphModel, shapes
from ..inputs.check import DIALECT, NONE_UNREADABLE, check_batch
from ..inputs.columns import check_columns
from ..inputs.rebatch import rebatch
from ..model.blocks import block_size
from ..model.devices import CudaStreams, pick_device
from ..model.example import example_inputs
from ..model.first_rows import FirstOfBlock, FirstRows
from ..model.loading import LoadedMember, load_members
from ..model.members import Members
from ..model.modes import pinned
from ..model.precision import TOLERANCE, Precision, reduced, too_coarse
from ..nested import with_types, without_runs
from ..options import DEFAULTS, ColumnOptions, CsvDialect, Explain, ScoreJob
from ..ordered import refuse_unordered
from ..outputs.assemble import assemble, assemble_rejects, described, output_schema, reasons_of
from ..records import CheckedBatch, FeatureBatch, Inputs, Reject, ScoredBatch, Sequences, dense
from ..tasks.decode import check_shape, decode_head, raw_arrays
from .batches import DecodedBatch, RawBatch, kept_positions, positions_or_all, without_rows
from .explaining.attribution import Attribution, baseline_of
from .replay import GoldenReport
from .retries import Retries, warn_retried
from .stages.hidden import HiddenLayers

if TYPE_CHECKING:
    import pandas as pd

    from .stages.dedupe import Repeats


class Scorer:
    """A bundle, ready to score. Load it with `Scorer.load`.

    Rows keep their order; every row comes back as a scored row or as a reject. Not tied to a thread: the five
    steps may run in different ones, each block on its own.
    """

    def __init__(
        self,
        manifest: BundleManifest,
        members: Sequence[LoadedMember],
        *,
        device: torch.device,
        digest: str,
        precision: Precision = "fp32",
        batch_rows: int | None = None,
    ) -> None:
        graphs = [member.graph for member in members if member.graph is not None]
        self.manifest = manifest
        self.digest = digest
        self.device = device
        size = block_size(manifest, graphs, device.type, batch_rows)
        self.block_rows, self.block_reason = size.rows, size.reason
        self.golden: GoldenReport | None = None
        self.folded = sum(member.folded for member in members)
        self.dropped = sum(member.dropped for member in members)
        self.precision = precision
        self.members = Members(
            [reduced(member.module, precision).to(device) for member in members],
            manifest.inputs,
            manifest.heads,
            call=manifest.call,
            device=device,
            pass_rows=size.pass_rows,
        )
        self.members.keep_inputs = any(member.graph is None or overwrites(member.graph) for member in members)
        #: Why the model is not compiled, where that was asked for.
        self.not_compiled: str | None = None
        #: How attributions are made, where they were asked for.
        self.attribution: Attribution | None = None
        self._hidden: HiddenLayers | None = None
        self._hidden_columns: list[HiddenColumn] = []
        self._streams = CudaStreams(device) if device.type == "cuda" else None
        self._limits = index_limits(manifest, graphs)
        self._sources = origins(manifest.features, manifest.steps)
        self._pads = any(isinstance(entry, SequenceInput) for entry in manifest.inputs)
        #: The input that each feature with images makes.
        self.images = {entry.columns[0]: entry for entry in manifest.inputs if isinstance(entry, ImageInput)}
        if self.images:
            require_pillow()

    @classmethod
    @pinned()
    def load(
        cls,
        path: str | os.PathLike[str] | Bundle,
        *,
        device: str = "auto",
        trust: Collection[str] = (),
        precision: Precision = "fp32",
        batch_rows: int | None = None,
        compiled: bool = False,
        hidden: Sequence[str] = (),
        explain: Explain | None = None,
        seed: int = 0,
    ) -> Scorer:
        """Load a bundle, check every digest, and replay its golden rows on the device.

        Args:
            path: the folder that `save_bundle` wrote.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`.
            trust: digests (`sha256:…`) of bundles that may execute the code they hold. Bundles of data need none.
            precision: `bf16` and `fp16` for the whole model, `int8` for the weights of its Linear layers. The golden
                rows are held to it, within what the format can tell apart.
            batch_rows: rows of one forward pass; by the model and the device where it is not given.
            compiled: let `torch.compile` have the model. Where that fails, or its golden rows come out otherwise, the
                model runs as it is, and `not_compiled` says why.
            hidden: layers whose results `hidden` gives, by their names.
            explain: how `explain` makes attributions; they need captum.
            seed: of what is drawn for them.

        Raises:
            UntrustedBundleError: the bundle holds code, and its digest is not in `trust`.
            BundleError: a bundle that is broken, was changed, or names what is not on the lists.
            GoldenMismatchError: its golden rows do not come out as expected.
            DeviceError: the device is not here.
            UsageError: a set, where the order has a meaning.
        """
        refuse_unordered(hidden=hidden)
        target = pick_device(device)
        bundle = path if isinstance(path, Bundle) else open_bundle(path)
        manifest = bundle.manifest

        def of(precision: Precision) -> Scorer:
            members = load_members(bundle, device=target, trust=trust)
            return cls(
                manifest, members, device=target, digest=bundle.digest, precision=precision, batch_rows=batch_rows
            )

        scorer = of(precision)
        names = [feature.name for feature in manifest.features]
        heads = [head.name for head in manifest.heads]
        golden = read_golden(bundle.read(manifest.golden.file), names, heads)
        try:
            scorer.settle(golden)
        except BundleError as error:
            if precision == "fp32":
                raise
            raise too_coarse(error, precision, of("fp32").settle(golden).largest_difference) from error
        scorer._hidden_columns = hidden_columns(manifest, hidden)
        if hidden or explain is not None:
            saved = load_members(bundle, device=target, trust=trust, as_saved=True)
            scorer._look_into([member.module.to(target) for member in saved], golden, explain, seed)
        if compiled:
            scorer.not_compiled = scorer.members.compile(lambda: scorer._probe(golden))
        return scorer

    @classmethod
    def for_job(cls, bundle: Bundle, job: ScoreJob) -> Scorer:
        """Load a bundle as a job asks for it. Raises as `load` does."""
        return cls.load(
            bundle,
            device=job.device,
            trust=job.trust,
            precision=job.precision,
            batch_rows=job.batch_rows,
            compiled=job.compile,
            hidden=job.columns.hidden,
            explain=job.columns.explain,
            seed=job.seed,
        )

    def _look_into(self, models: Sequence[nn.Module], golden: GoldenRows, explain: Explain | None, seed: int) -> None:
        """Keep the models as they were saved, for hidden layers and attributions."""
        pass_rows = self.members.pass_rows
        if self._hidden_columns:
            self._hidden = HiddenLayers(
                models, self._hidden_columns, call=self.manifest.call, passes=self.members.passes
            )
        if explain is not None:
            row = self.prepare(baseline_of(self.manifest, golden.features, self._limits))
            self.attribution = Attribution(
                self.manifest,
                models,
                explain,
                baseline={name: tensor.to(self.device) for name, tensor in dense(row.inputs).items()},
                limits=self._limits,
                pass_rows=pass_rows,
                contiguous=self.members.passes.contiguous,
                seed=seed,
                heed=self.members.passes.heed_stop,
            )

    @property
    def features(self) -> list[str]:
        """The names of the raw feature columns, in the bundle's order."""
        return [feature.name for feature in self.manifest.features]

    def values_per_row(self) -> int:
        """How many numbers of a row are in flight at once: the model's inputs and outputs."""
        inputs = sum(entry.numbers * (4 if entry.kind == "sequence" else 1) for entry in self.manifest.inputs)
        steps = self.manifest.longest
        outputs = (head_width(head) * (steps if isinstance(head, TaggingHead) else 1) for head in self.manifest.heads)
        return inputs + sum(outputs) * len(self.members)

    @pinned()
    def check(
        self,
        batch: pa.RecordBatch,
        *,
        text: Collection[str] = (),
        dialect: CsvDialect = DIALECT,
        unreadable: Mapping[int, str] = NONE_UNREADABLE,
    ) -> CheckedBatch:
        """Feature columns as float64, without the rows in which one has no finite, exact value."""
        return check_batch(batch, self.manifest.features, text=text, dialect=dialect, unreadable=unreadable)

    @pinned()
    def decode_images(self, checked: CheckedBatch, folder: str = "", mapper: Mapper = map) -> CheckedBatch:
        """The same with pixels in place of bytes and paths, float32 `[kept, channels, height, width]`, without the rows
        whose images cannot be decoded.

        Args:
            folder: where relative paths start.
            mapper: runs the decoding, in threads if it likes to.
        """
        for name, entry in self.images.items():
            pixels, unfit = open_images(checked.columns[name], entry, folder=folder, mapper=mapper)
            checked = replace(checked, columns={**checked.columns, name: pixels})
            if unfit:
                checked = without_rows(checked, unfit, name)
        return checked

    @pinned()
    def scale(self, checked: CheckedBatch) -> FeatureBatch:
        """The saved steps in float64, then the model's inputs, `[kept, features]`."""
        return scale_batch(
            checked,
            steps=self.manifest.steps,
            inputs=self.manifest.inputs,
            limits=self._limits,
            sources=self._sources,
            pin=self._streams is not None,
        )

    @pinned()
    def prepare(self, batch: pa.RecordBatch, *, folder: str = "", **reading: Any) -> FeatureBatch:
        """check → images → scale, for those that do not time them. `reading`: as `check` takes it."""
        return self.scale(self.decode_images(self.check(batch, **reading), folder))

    @pinned()
    def transfer(self, features: FeatureBatch) -> FeatureBatch:
        """The same on the scorer's device, or on the way to it."""
        if self._streams is None or not features.num_kept:
            return features
        sent = self._streams.send(features.inputs)
        return replace(features, inputs=sent.tensors, sent=sent)

    @pinned()
    def forward(self, features: FeatureBatch, *, first: FirstOfBlock | None = None) -> RawBatch:
        """The raw output of every head, `[rows, members × width]`, under `inference_mode`, back on the CPU.

        On a CPU, rows that make the model raise are found by halving the block, and are rejects.

        Args:
            first: which of them are among the first rows of a file. A model that raises on the first eight, one by
                one, is at fault, not they.

        Raises:
            ModelFailedError: that; or the model raises on a GPU, whose state is unknown then.
        """
        if features.num_kept == 0:
            return RawBatch(heads=self._no_rows())
        try:
            return self._forward(features)
        except (ScorelineError, MemoryError):
            raise
        except Exception as error:  # whatever a model raises: its own exceptions, those of TorchScript and ONNX
            if self.device.type != "cpu":
                raise ModelFailedError(f"the model fails: {one_line(error)}") from error
            said = one_line(error)
        passed = self.members.run_but_failing(features.inputs, first=first, error=said)
        return RawBatch(heads=passed.heads or self._no_rows(), failed=passed.failed, retried=passed.retried)

    def _forward(self, features: FeatureBatch) -> RawBatch:
        if self._streams is None:
            spent: dict[str, float] = {}
            heads = self.members.run(features.inputs, spent)
            return RawBatch(heads=heads, device_s=spent if self._pads else {})
        assert features.sent is not None, "what runs on a GPU was transferred to it"
        fetched = self._streams.work(features.sent, self.members.run)
        device_s = {"transfer": fetched.transfer_s, "forward": fetched.forward_s}
        return RawBatch(heads=fetched.tensors, device_s=device_s)

    def _no_rows(self) -> dict[str, Tensor | Sequences]:
        found: dict[str, Tensor | Sequences] = {}
        for head in self.manifest.heads:
            none = torch.empty((0, head_width(head) * len(self.members)))
            of_steps = isinstance(head, TaggingHead | GenerationHead)
            found[head.name] = Sequences(values=none, offsets=torch.zeros(1, dtype=torch.int64)) if of_steps else none
        return found

    @pinned()
    def only(self, features: FeatureBatch, places: np.ndarray) -> FeatureBatch:
        """Some of the rows that are to be scored, by their places among them."""
        index = torch.from_numpy(places)
        inputs = {name: tensor.T[:, index].T for name, tensor in dense(features.inputs).items()}
        return replace(features, inputs=inputs, kept=kept_positions(features)[places], rejects=())

    @pinned()
    def repeated(self, raw: RawBatch, repeats: Repeats) -> RawBatch:
        """The raw outputs of all rows of a block, from those of the rows that were scored and of blocks before it."""
        heads, failed = repeats.table.fill(repeats, dense(raw.heads), raw.failed)
        return replace(raw, heads=dict(heads) or self._no_rows(), failed=failed)

    @pinned()
    def hidden(self, features: FeatureBatch, raw: RawBatch) -> list[pa.Array]:
        """The results of the hidden layers that the scorer was loaded with, for the rows that went through the model:
        lists of float32 of a fixed size."""
        if self._hidden is None:
            return []
        if len(raw.failed) == features.num_kept:
            empty = [pa.list_(pa.float32(), column.width) for column in self._hidden_columns]
            return [pa.nulls(0, kind) for kind in empty]
        inputs: Inputs = features.inputs
        if raw.failed:
            through = torch.from_numpy(np.delete(np.arange(features.num_kept), list(raw.failed)))
            inputs = {name: given[through] for name, given in inputs.items()}
        if self._streams is None:
            results: Inputs = self._hidden.run(inputs)
        else:
            assert features.sent is not None, "what runs on a GPU was transferred to it"
            assert not raw.failed, "a model that raises on a GPU ends the run"
            results = self._streams.work(features.sent, self._hidden.run).tensors
        return [
            pa.FixedSizeListArray.from_arrays(to_arrow(values.numpy().reshape(-1)), values.shape[1])
            for values in dense(results).values()
        ]

    @pinned()
    def decode(
        self,
        features: FeatureBatch,
        raw: RawBatch,
        options: ColumnOptions = DEFAULTS,
        hidden: Sequence[pa.Array] = (),
    ) -> DecodedBatch:
        """Columns as `bundle/heads.py` names them, and behind them those of hidden layers; a row whose output is not
        finite becomes a reject."""
        heads = [
            decode_head(head, raw.heads[head.name], options, self.manifest.ensemble, len(self.members))
            for head in with_thresholds(self.manifest.heads, options)
        ]
        columns = [*(column for head in heads for column in head.columns), *hidden]
        kept = raw.kept(features)
        rows = features.num_kept - len(raw.failed)
        rejects = [*features.rejects, *raw.rejects(features)]
        good = np.ones(rows, dtype=np.bool_)
        beyond = np.zeros(rows, dtype=np.bool_)

        def reject(bad: np.ndarray, reason: str) -> None:
            lost = np.flatnonzero(bad & good)
            places = lost if kept is None else kept[lost]
            rejects.append(Reject(positions=places, stage="decode", column="", reasons=(reason,) * len(places)))
            good[lost] = False

        for description, decoded in zip(self.manifest.heads, heads, strict=True):
            if decoded.finite is not None:
                reject(~decoded.finite.numpy(), "the model's output is not finite")
            if decoded.beyond is None:
                continue
            if description.bounds is not None and description.bounds.reject:
                reject(decoded.beyond.numpy(), "the prediction is out of bounds")
            else:
                beyond |= decoded.beyond.numpy()
        if not good.all():
            kept = np.flatnonzero(good) if kept is None else kept[good]
            columns = [array.filter(to_arrow(good)) for array in columns]
        return DecodedBatch(
            batch=features.batch,
            columns=tuple(columns),
            kept=kept,
            rejects=tuple(rejects),
            out_of_bounds=int((beyond & good).sum()),
        )

    @pinned()
    def explain(
        self, features: FeatureBatch, decoded: DecodedBatch, options: ColumnOptions, *, source: str, first_row: int
    ) -> tuple[DecodedBatch, int]:
        """The same with the attributions of some rows as further columns, and how many those are.

        Args:
            source: the name of the partition, and `first_row` the place of the batch's first row in it: they say which
                rows are explained.
        """
        if self.attribution is None:
            return decoded, 0
        places = positions_or_all(decoded.kept, decoded.batch.num_rows)
        index = torch.from_numpy(np.searchsorted(kept_positions(features), places)).to(self.device)
        inputs = {name: tensor[index] for name, tensor in dense(features.inputs).items()}
        columns, number = self.attribution.columns(inputs, decoded.columns, options, source, places + first_row)
        return replace(decoded, columns=(*decoded.columns, *columns)), number

    def output_fields(self, options: ColumnOptions = DEFAULTS) -> list[pa.Field]:
        """The columns that predictions are written to, before any prefix."""
        return output_fields(self.manifest, options)

    def score_batches(
        self,
        batches: Iterable[pa.RecordBatch],
        *,
        options: ColumnOptions = DEFAULTS,
        text: Collection[str] = (),
        source: str = "",
    ) -> Iterator[ScoredBatch]:
        """Score record batches of any size; yields blocks of `block_rows` in input order.

        Args:
            batches: all of one schema, with the feature columns by name; the others are carried through.
            text: feature columns whose text is to be read as numbers.
            source: the name that rejects give as theirs.

        Raises:
            ColumnError: a feature column is missing, doubled, or holds no numbers.
            UsageError: hidden layers or explanations that the scorer was not loaded with; keys as a set.
        """
        refuse_unordered(keys=options.keys, hidden=options.hidden)
        if [column.name for column in hidden_columns(self.manifest, options.hidden)] != [
            column.name for column in self._hidden_columns
        ]:
            raise UsageError("load the scorer with the hidden layers that options name: Scorer.load(…, hidden=[…])")
        if options.explain != (self.attribution and self.attribution.explain):
            raise UsageError("load the scorer with the explanations that options name: Scorer.load(…, explain=…)")
        first_row, first, retries = 0, FirstRows(), Retries(warn_retried)
        schema: pa.Schema | None = None
        for batch in rebatch((with_types(batch, without_runs) for batch in batches), self.block_rows):
            if schema is None:
                check_columns(batch.schema, self.manifest.features, text=text, source=source or "the table")
                keys = key_names(batch.schema, self.features, options)
                key_schema = pa.schema([batch.schema.field(name) for name in keys])
                schema = output_schema(
                    key_schema,
                    self.output_fields(options),
                    options.prefix,
                    source=source or "the table",
                    advice="rename it first",
                )
            scored = self._scored(batch, schema, options, text=text, source=source, first_row=first_row, first=first)
            retries.see(scored.retried, source=source or "the table", first_row=first_row, rows=batch.num_rows)
            yield scored
            first_row += batch.num_rows

    @pinned()
    def _scored(
        self,
        batch: pa.RecordBatch,
        schema: pa.Schema,
        options: ColumnOptions,
        *,
        text: Collection[str],
        source: str,
        first_row: int,
        first: FirstRows,
    ) -> ScoredBatch:
        """One block by all five steps. The caller's modes are back before it is handed on."""
        features = self.transfer(self.prepare(batch, text=text))
        try:
            raw = self.forward(features, first=first.announce(features.num_kept))
        except ModelFailedError as error:
            last = first_row + batch.num_rows - 1
            raise ModelFailedError(f"{source or 'rows'}: rows {first_row} to {last}: {error}") from error
        decoded = self.decode(features, raw, options, self.hidden(features, raw))
        decoded, _ = self.explain(features, decoded, options, source=source, first_row=first_row)
        return ScoredBatch(
            rows=assemble(batch, decoded.kept, decoded.columns, schema),
            rejects=assemble_rejects(batch, decoded.rejects, source=source, first_row=first_row),
            out_of_bounds=decoded.out_of_bounds,
            retried=raw.retried,
        )

    @overload
    def score_table(self, table: pa.Table, *, with_rejects: Literal[False] = ...) -> pa.Table: ...
    @overload
    def score_table(self, table: pa.Table, *, with_rejects: Literal[True]) -> tuple[pa.Table, pa.Table]: ...
    def score_table(self, table: pa.Table, *, with_rejects: bool = False) -> pa.Table | tuple[pa.Table, pa.Table]:
        """Score a table that is in memory: its other columns, then the predictions, in the same order.

        Args:
            with_rejects: hand back `(rows, rejects)`; otherwise a row that cannot be scored raises.

        Raises:
            ColumnError: a feature column is missing, doubled, or holds no numbers.
            RowsRejectedError: names the first row and column that cannot be scored.
        """
        rows, rejects = self._score_table(table)
        if with_rejects:
            return rows, rejects
        _refuse_rejects(rejects, table.num_rows, "mend them, or ask for them with with_rejects=True")
        return rows

    def _score_table(self, table: pa.Table) -> tuple[pa.Table, pa.Table]:
        batches = table.to_batches() or [_no_batch(table.schema)]
        scored = list(self.score_batches(batches))
        return pa.Table.from_batches([one.rows for one in scored]), pa.Table.from_batches([o.rejects for o in scored])

    @overload
    def score_frame(self, frame: pd.DataFrame) -> pd.DataFrame: ...
    @overload
    def score_frame(self, frame: Any) -> pa.Table: ...
    def score_frame(self, frame: Any) -> pd.DataFrame | pa.Table:
        """Score a frame: its other columns as they are, then the predictions, in the same order.

        Args:
            frame: of pandas; what comes back is one, too, with the same index. Its columns are bound by their names as
                text, so that column 0 is feature "0". Or whatever hands itself over as Arrow's C stream, as frames of
                polars, DuckDB and narwhals do; what comes back is a `pyarrow.Table` (`polars.from_arrow` takes it).

        Raises:
            ColumnError, UsageError: a feature column is missing, doubled, or holds no numbers; or another column has
                the name of an output.
            RowsRejectedError: names the first row and column that cannot be scored.
        """
        if not is_pandas(frame):
            if not is_arrow(frame):
                raise UsageError(
                    f"score_frame takes a frame of pandas, or one that has __arrow_c_stream__, and"
                    f" {type(frame).__name__} is neither; collect a lazy frame, and give columns to an array"
                )
            return self._frame_rows(arrow_table(frame))
        import pandas as pd  # which is there already

        features = pandas_columns(frame, self.features)
        try:
            table = without_views(pa.Table.from_pandas(features, preserve_index=False))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise ColumnError(f"the frame's features are no plain numbers: {one_line(error)}") from error
        predictions = self._frame_rows(table).to_pandas().set_axis(frame.index)
        keys = frame.loc[:, [str(name) not in features.columns for name in frame.columns]]
        taken = {str(name) for name in keys.columns} & set(predictions.columns)
        if taken:
            raise UsageError(f"the frame has a column {min(taken)!r}, the name of an output; rename it first")
        joined: pd.DataFrame = pd.concat([keys, predictions], axis=1)
        return joined

    def _frame_rows(self, table: pa.Table) -> pa.Table:
        rows, rejects = self._score_table(table)
        _refuse_rejects(rejects, table.num_rows, "mend them, or ask score_table for them, with with_rejects=True")
        return rows

    @pinned()
    def raw_and_columns(self, features: pa.RecordBatch) -> tuple[dict[str, Raw], DecodedBatch]:
        """Raw outputs and decoded columns of a few rows, at the bundle's own defaults.

        Raises:
            ModelFailedError: the model fails on all of them together, whatever it makes of each.
        """
        inputs = self.transfer(self.prepare(features))
        try:
            raw = self._forward(inputs) if inputs.num_kept else RawBatch(heads=self._no_rows())
        except (ScorelineError, MemoryError):
            raise
        except Exception as error:  # whatever a model raises
            raise ModelFailedError(f"the model fails: {one_line(error)}") from error
        for head in self.manifest.heads:
            output = raw.heads[head.name]
            if isinstance(output, Tensor):
                check_shape(head, output[:, : output.shape[1] // len(self.members)], inputs.num_kept)
        return raw_arrays(self.manifest.heads, raw.heads), self.decode(inputs, raw)

    @pinned()
    def shapes(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """What the first member's graph makes of three rows, node by node; nothing where it is no graph."""
        model = self.members.models[0]
        if not isinstance(model, GraphModel):
            return []
        with torch.inference_mode():
            return shapes(model, *example_inputs(self.manifest, self.device))

    def _probe(self, golden: GoldenRows) -> None:
        """All golden rows at once, so that what fails fails once; then as ever."""
        self._forward(self.transfer(self.prepare(golden.features)))
        try:
            self.replay(golden)
        except GoldenMismatchError as error:
            raise GoldenMismatchError(f"it gives other values for the golden rows: {error.finding}") from error

    @pinned()
    def settle(self, golden: GoldenRows) -> GoldenReport:
        """Replay the golden rows, and find out whether the model takes the rows of tables column by column: one that
        views them otherwise gets them one behind the other.

        Raises as `replay` does.
        """
        try:
            return self._replay_several(golden)
        except BundleError:
            if self.members.passes.contiguous or not any(isinstance(e, TableInput) for e in self.manifest.inputs):
                raise
            self.members.passes.contiguous = True
            try:
                return self._replay_several(golden)
            except BundleError:
                self.members.passes.contiguous = False
            raise

    def _replay_several(self, golden: GoldenRows) -> GoldenReport:
        """The same of two rows at least: one alone is laid out both ways."""
        report = self.replay(golden)
        if golden.features.num_rows == 1:
            try:
                self.raw_and_columns(golden.features.take(pa.array([0, 0])))
            except ModelFailedError as error:
                raise BundleError(f"two golden rows cannot be scored: {error}") from error
        return report

    @pinned()
    def replay(self, golden: GoldenRows) -> GoldenReport:
        """Score the golden rows by the whole path and compare.

        Raises:
            BundleError: the model cannot score them.
            GoldenMismatchError: they do not come out as expected.
        """
        if golden.features.num_rows != self.manifest.golden.rows:
            raise BundleError(f"golden.parquet has {golden.features.num_rows} rows, not {self.manifest.golden.rows}")
        try:
            check_columns(golden.features.schema, self.manifest.features, text=(), source="golden.parquet")
            raw, decoded = self.raw_and_columns(golden.features)
        except BundleError:
            raise
        except Exception as error:  # whatever a file can make torch or Arrow raise
            raise BundleError(f"the golden rows cannot be scored: {one_line(error)}") from error
        names = [field.name for field in self.output_fields()]
        if decoded.rejects:
            reject = decoded.rejects[0]
            raise BundleError(f"golden row {reject.positions[0]} is rejected: {reject.column} {reject.reasons[0]}")
        columns = dict(zip(names, decoded.columns, strict=True))
        wider = WIDER[self.manifest.golden.fitted_in] * TOLERANCE[self.precision]
        largest = compare(golden, raw, columns, wider=wider, ties=self.manifest.golden.source == "model")
        self.golden = GoldenReport(
            rows=golden.features.num_rows,
            source=self.manifest.golden.source,
            largest_difference=largest,
        )
        return self.golden


def _refuse_rejects(rejects: pa.Table, num_rows: int, advice: str) -> None:
    """Raise RowsRejectedError where there is one, naming the first."""
    if rejects.num_rows:
        first = reasons_of(rejects)[0].as_py()
        raise RowsRejectedError(
            f"row {first['row_number']}: {described(first)} ({rejects.num_rows} of {num_rows} rows cannot be scored);"
            f" {advice}"
        )


def _no_batch(schema: pa.Schema) -> pa.RecordBatch:
    """What a table without a chunk consists of."""
    fields = [field.with_type(without_runs(field.type)) for field in schema]
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in fields], schema=pa.schema(fields))
