"""A bundle, ready to score: loaded once, then the same line of stages for every block.

Touches no file or process once loaded. A notebook or another engine that calls `score_batches` executes the same line
as `scoreline score`, so the same bundle gives the same answer everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa
import torch
from torch import nn

from ...schemas.bundle import BundleManifest
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.columns import key_names, output_fields
from ..bundle.golden import GoldenRows, read_golden
from ..bundle.layers import HiddenColumn, hidden_columns
from ..errors import BundleError, ColumnError, RowsRejectedError, UsageError, one_line
from ..frames import arrow_table, is_arrow, is_pandas, pandas_columns, without_views
from ..graph.interpreter import GraphModel, shapes
from ..inputs.columns import check_columns
from ..inputs.rebatch import rebatch
from ..model.devices import open_device
from ..model.example import example_inputs
from ..model.first_rows import FirstRows
from ..model.loading import load_members
from ..model.members import Members
from ..model.modes import pinned
from ..model.precision import Precision, precision_mismatch
from ..nested import with_types, without_runs
from ..options import DEFAULTS, ColumnOptions, Explain, ScoreJob
from ..ordered import refuse_unordered
from ..outputs.assemble import described, output_schema, reasons_of
from ..records import ReadBlock, ScoredBatch
from .block import Block, Origin
from .explaining.attribution import load_attribution
from .line import Line, LineOptions, compose
from .loaded import LoadedBundle, on_device
from .replay import GoldenReport, probe, settle_layout
from .retries import Retries, warn_retried
from .stages.hidden import HiddenLayers

if TYPE_CHECKING:
    import pandas as pd


class Scorer:
    """A bundle, ready to score. Load it with `Scorer.load`.

    Rows keep their order; every row comes back as a scored row or as a reject. Not tied to a thread.
    """

    def __init__(self, loaded: LoadedBundle, *, digest: str, golden: GoldenReport) -> None:
        self.loaded = loaded
        self.digest = digest
        self.golden = golden
        self.block_rows, self.block_reason = loaded.block_rows, loaded.block_reason
        #: Why the model is not compiled, where that was asked for.
        self.not_compiled: str | None = None

    @property
    def manifest(self) -> BundleManifest:
        """What the bundle says about itself."""
        return self.loaded.manifest

    @property
    def members(self) -> Members:
        """The models."""
        return self.loaded.members

    @property
    def device(self) -> torch.device:
        """Where they run."""
        return self.loaded.device.torch

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
    ) -> Scorer:
        """Load a bundle, check every digest, and replay its golden rows on the device.

        Args:
            path: the folder that `save_bundle` wrote.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`.
            trust: digests (`sha256:…`) of bundles that may execute the code they hold. Bundles of data need none.
            precision: `bf16` and `fp16` for the whole model, `int8` for the weights of its Linear layers. The golden
                rows are held to it, within what the format can tell apart.
            batch_rows: rows of one forward pass; by the model and the device where it is not given.
            compiled: let `torch.compile` have the model. Where that fails, or its golden rows are not reproduced, the
                model runs as it is, and `not_compiled` says why.
            hidden: layers whose results are written as well, by their names.
            explain: how attributions are made; they need captum.

        Raises:
            UntrustedBundleError: the bundle holds code, and its digest is not in `trust`.
            BundleError: a bundle that is broken, was changed, or names what is not on the lists.
            GoldenMismatchError: its golden rows are not reproduced.
            DeviceError: the device is not here.
            UsageError: a set, where the order has a meaning.
        """
        refuse_unordered(hidden=hidden)
        target = open_device(device)
        bundle = path if isinstance(path, Bundle) else open_bundle(path)
        manifest = bundle.manifest

        def of(precision: Precision) -> LoadedBundle:
            members = load_members(bundle, device=target.torch, trust=trust)
            return on_device(manifest, members, target, precision=precision, batch_rows=batch_rows)

        loaded = of(precision)
        golden = _golden_of(bundle)
        try:
            report = settle_layout(loaded, golden)
        except BundleError as error:
            if precision == "fp32":
                raise
            raise precision_mismatch(error, precision, settle_layout(of("fp32"), golden).largest_difference) from error
        columns = hidden_columns(manifest, hidden)
        if hidden or explain is not None:
            saved = load_members(bundle, device=target.torch, trust=trust, as_saved=True)
            models = [member.module.to(target.torch) for member in saved]
            _look_inside(loaded, models, columns=columns, explain=explain, golden=golden)
        scorer = cls(loaded, digest=bundle.digest, golden=report)
        if compiled:
            scorer.not_compiled = loaded.members.compile(lambda: probe(loaded, golden))
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
        )

    @property
    def features(self) -> list[str]:
        """The names of the raw feature columns, in the bundle's order."""
        return [feature.name for feature in self.manifest.features]

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
        line, named = self._line(options), source or "the table"
        origin, first_row, retries = Origin(), 0, Retries(warn_retried)
        for batch in rebatch((with_types(batch, without_runs) for batch in batches), self.block_rows):
            if origin.schema is None:
                origin = self._origin(batch.schema, options, text=text, source=source)
            read = ReadBlock(split=0, first_row=first_row, batch=batch)
            scored = line.score(line.load(Block.of(read, origin))).need_scored()
            retries.see(scored.retried, source=named, first_row=first_row, rows=batch.num_rows)
            yield scored
            first_row += batch.num_rows

    def _origin(self, schema: pa.Schema, options: ColumnOptions, *, text: Collection[str], source: str) -> Origin:
        """Where batches of a schema come from, and what their rows are written as."""
        named = source or "the table"
        check_columns(schema, self.manifest.features, text=text, source=named)
        keys = pa.schema([schema.field(name) for name in key_names(schema, self.features, options)])
        written = output_schema(
            keys, self.output_fields(options), options.prefix, source=named, advice="rename it first"
        )
        return Origin(source=source, text=text, schema=written, num_keys=len(keys), first_rows=FirstRows())

    def _line(self, options: ColumnOptions) -> Line:
        """The line for some options. Raises UsageError for those that the scorer was not loaded with."""
        hidden, attribution = self.loaded.hidden, self.loaded.attribution
        if tuple(hidden_columns(self.manifest, options.hidden)) != (hidden.columns if hidden else ()):
            raise UsageError("load the scorer with the hidden layers that options name: Scorer.load(…, hidden=[…])")
        if options.explain != (attribution and attribution.explain):
            raise UsageError("load the scorer with the explanations that options name: Scorer.load(…, explain=…)")
        return compose(self.loaded, LineOptions(columns=options))

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
    def shapes(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """What the first member's graph makes of three rows, node by node; nothing where it is no graph."""
        model = self.members.models[0]
        if not isinstance(model, GraphModel):
            return []
        with torch.inference_mode():
            return shapes(model, *example_inputs(self.manifest, self.device))


def _golden_of(bundle: Bundle) -> GoldenRows:
    manifest = bundle.manifest
    names = [feature.name for feature in manifest.features]
    return read_golden(bundle.read(manifest.golden.file), names, [head.name for head in manifest.heads])


def _look_inside(
    loaded: LoadedBundle,
    models: Sequence[nn.Module],
    *,
    columns: Sequence[HiddenColumn],
    explain: Explain | None,
    golden: GoldenRows,
) -> None:
    """Keep the models as they were saved, for hidden layers and attributions."""
    if columns:
        loaded.hidden = HiddenLayers(models, columns, call=loaded.manifest.call, passes=loaded.members.passes)
    if explain is not None:
        loaded.attribution = load_attribution(loaded, models, explain, golden.features)


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
