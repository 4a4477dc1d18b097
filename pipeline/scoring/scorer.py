"""A bundle, ready to score: loaded once, then the same line of stages for every block.

Uses no files or processes once loaded. A notebook or another engine that calls `score_batches` executes the same line
as `scoreline score`, so the same bundle gives the same results everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa
import torch

from ...schemas.bundle import BundleManifest
from ..bundle.bundle import Bundle, open_bundle
from ..bundle.columns import key_names, output_fields
from ..bundle.layers import hidden_columns
from ..errors import RowsRejectedError, UsageError, counted
from ..frames import arrow_table, is_arrow, is_pandas, pandas_table
from ..graph.interpreter import GraphModel
from ..inputs.columns import check_columns
from ..inputs.rebatch import rebatch
from ..model.devices import Device, group_name, open_device
from ..model.example import ResultShape, result_shapes
from ..model.first_rows import FirstRows
from ..model.members import Members
from ..model.modes import pinned
from ..model.tf32 import refuse_without_tf32
from ..monitoring.layout import open_layout
from ..nested import with_types, with_wide_indices, without_runs
from ..options import ColumnOptions, Explain, ExplainMethod, Precision, ScoreJob
from ..ordered import refuse_unordered
from ..outputs.assemble import described, output_schema, reasons_of
from ..records import ScoredBatch
from .arguments import check_load, checked_batches, explain_of, hidden_names, refuse_other_tables
from .block import Block, Origin
from .footprint import block_bytes
from .line import Line, LineOptions, compose
from .loaded import LoadedBundle
from .replay import GoldenReport
from .replicas import ReplicaSpec, compile_replicas, load_others, load_replica
from .retries import Retries, warn_retried

if TYPE_CHECKING:
    import pandas as pd


class Scorer:
    """A bundle, ready to score. Load it with `Scorer.load`.

    Rows keep their order; every row is returned as a scored row or as a reject. Not bound to a thread.
    """

    def __init__(self, loaded: LoadedBundle, *, digest: str, golden: GoldenReport, spec: ReplicaSpec) -> None:
        #: On the first device, and on every device of a run.
        self.loaded = loaded
        self.replicas: tuple[LoadedBundle, ...] = (loaded,)
        self.device_name, self._spec = str(self.device), spec
        self._columns = ColumnOptions(hidden=tuple(spec.hidden), explain=spec.explain)
        self.digest = digest
        self.golden = golden
        self.block_rows, self.block_reason = loaded.block_rows, loaded.block_reason
        #: Why the model is not compiled, if `compiled` was requested.
        self.not_compiled: str | None = None

    @property
    def manifest(self) -> BundleManifest:
        """The bundle's manifest."""
        return self.loaded.manifest

    @property
    def members(self) -> Members:
        """The models on the first device."""
        return self.loaded.members

    @property
    def device(self) -> torch.device:
        """The first device that they run on."""
        return self.loaded.device.torch

    @property
    def devices(self) -> list[Device]:
        """All devices that they run on."""
        return [loaded.device for loaded in self.replicas]

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
        explain: Explain | ExplainMethod | None = None,
    ) -> Scorer:
        """Load a bundle, check every digest, and replay its golden rows on the device.

        Args:
            path: the folder that `save_bundle` wrote.
            device: `auto` (the first GPU, or the CPU where there is none), `cpu`, `cuda` (the first GPU), `cuda:1`.
            trust: digests (`sha256:…`) of bundles whose code may be executed. Bundles without code need none.
            precision: `tf32` for products, on a GPU; `bf16` and `fp16` for the whole model; `int8` for the weights of
                its Linear layers. The golden rows must be reproduced within the resolution of that format.
            batch_rows: rows of one forward pass; by default chosen from the model and the device.
            compiled: use `torch.compile`. If that fails or changes the golden rows, `not_compiled` has the reason.
            hidden: names of layers whose results are added as columns.
            explain: the method of attributions that are added as columns: `integrated-gradients`, `shapley`, `lime` or
                `occlusion`; requires captum. `scoreline.pipeline.options.Explain` also has the `target` to explain.

        Raises:
            UntrustedBundleError: the bundle contains code, and its digest is not in `trust`.
            BundleError: the bundle is broken, was changed, or uses an operation that is not allowed.
            GoldenMismatchError: its golden rows were not reproduced.
            DeviceError: the device is not available, lacks memory for the model, or lacks the TF32 that was requested.
            UsageError: an argument has none of the values above; or the precision does not suit the device or model.
        """
        check_load(device=device, trust=trust, precision=precision, batch_rows=batch_rows)
        hidden, explain = hidden_names(hidden), explain_of(explain)
        target = open_device(device)
        refuse_without_tf32(precision, target.torch)
        spec = ReplicaSpec(
            bundle=path if isinstance(path, Bundle) else open_bundle(path),
            trust=trust, precision=precision, batch_rows=batch_rows, hidden=hidden, explain=explain,
        )  # fmt: skip
        loaded, report = load_replica(spec, target)
        scorer = cls(loaded, digest=spec.bundle.digest, golden=report, spec=spec)
        if compiled:
            scorer.not_compiled = compile_replicas(scorer.replicas, spec.golden)
        return scorer

    @classmethod
    def for_job(cls, bundle: Bundle, job: ScoreJob) -> Scorer:
        """Load a bundle with the options of a job, on every device that it names. Raises as `load` does."""
        scorer = cls.load(
            bundle,
            device=job.device,
            trust=job.trust,
            precision=job.precision,
            batch_rows=job.batch_rows,
            compiled=job.compile,
            hidden=job.columns.hidden,
            explain=job.columns.explain,
        )
        scorer.add_devices(job.device, compiled=job.compile)
        if job.profile:
            layout = open_layout(bundle)
            for loaded in scorer.replicas:
                loaded.layout = layout
        return scorer

    @pinned()
    def add_devices(self, name: str, *, compiled: bool = False) -> None:
        """Load the models on the other devices that a name means, and replay the golden rows on each, for a run
        that uses all of them; `score_batches` uses the first. Raises as `load` does, and names the device."""
        others = list(load_others(self._spec, self.loaded, name))
        self.replicas = (self.loaded, *(loaded for loaded, _ in others))
        self.golden = max((self.golden, *(report for _, report in others)), key=lambda one: one.largest_difference)
        self.device_name = group_name(self.device, name)
        if compiled and self.not_compiled is None and len(self.replicas) > 1:
            self.not_compiled = compile_replicas(self.replicas, self._spec.golden)
        for loaded in self.replicas:
            loaded.block_bytes = block_bytes(loaded, self._spec.golden)

    @property
    def features(self) -> list[str]:
        """The names of the raw feature columns, in the bundle's order."""
        return [feature.name for feature in self.manifest.features]

    def output_fields(self, options: ColumnOptions | None = None) -> list[pa.Field]:
        """The output columns, without the prefix. `options`: see `score_batches`."""
        return output_fields(self.manifest, self._columns if options is None else options)

    def score_batches(
        self,
        batches: Iterable[pa.RecordBatch],
        *,
        options: ColumnOptions | None = None,
        text: Collection[str] = (),
        source: str = "",
    ) -> Iterator[ScoredBatch]:
        """Score record batches of any size; yields blocks of `block_rows` in input order.

        Args:
            batches: all of one schema, with the feature columns by name; other columns are carried through.
            options: the output columns; None: those that a bundle writes without any option, and the hidden layers and
                attributions that the scorer was loaded with.
            text: feature columns whose text is parsed as numbers.
            source: the source name in rejects.

        Raises:
            ColumnError: a feature column is missing, appears twice, or is not numeric; or a batch has other columns.
            UsageError: hidden layers or attributions that were not loaded; keys as a set; or no record batches.
        """
        options = self._columns if options is None else options
        refuse_unordered(keys=options.keys, hidden=options.hidden)
        line, named = self._line(options), source or "the table"
        origin, first_row, retries = Origin(), 0, Retries(warn_retried)
        for batch in rebatch((with_types(batch, without_runs) for batch in checked_batches(batches)), self.block_rows):
            if origin.schema is None:
                origin = self._origin(batch.schema, options, text=text, source=source)
            block = Block(batch=batch, origin=origin, first_row=first_row)
            scored = line.score(line.load(block)).need_scored()
            retries.add(scored.retried, source=named, first_row=first_row, rows=batch.num_rows)
            yield scored
            first_row += batch.num_rows

    def _origin(self, schema: pa.Schema, options: ColumnOptions, *, text: Collection[str], source: str) -> Origin:
        """The origin of batches of a schema, with the schema of the output rows."""
        named = source or "the table"
        check_columns(schema, self.manifest.features, text=text, source=named)
        fields = [schema.field(name) for name in key_names(schema, self.features, options)]
        keys = pa.schema([field.with_type(with_wide_indices(field.type)) for field in fields])
        written = output_schema(
            keys, self.output_fields(options), options.prefix, source=named, advice="rename it first"
        )
        return Origin(source=source, text=text, schema=written, num_keys=len(keys), first_rows=FirstRows())

    def _line(self, options: ColumnOptions) -> Line:
        """The line for some options. Raises UsageError if the scorer was loaded with others."""
        hidden, attribution = self.loaded.hidden, self.loaded.attribution
        if tuple(hidden_columns(self.manifest, options.hidden)) != (hidden.columns if hidden else ()):
            raise UsageError("the options' hidden layers are not loaded; use Scorer.load(…, hidden=[…])")
        if options.explain != (attribution and attribution.explain):
            raise UsageError("the options' attributions are not loaded; use Scorer.load(…, explain=…)")
        return compose(self.loaded, LineOptions(columns=options))

    @overload
    def score_table(self, table: pa.Table, *, with_rejects: Literal[False] = ...) -> pa.Table: ...
    @overload
    def score_table(self, table: pa.Table, *, with_rejects: Literal[True]) -> tuple[pa.Table, pa.Table]: ...
    def score_table(self, table: pa.Table, *, with_rejects: bool = False) -> pa.Table | tuple[pa.Table, pa.Table]:
        """Score a table in memory. Returns its other columns, then the predictions, in the same row order.

        Args:
            with_rejects: return `(rows, rejects)`; otherwise a row that cannot be scored raises.

        Raises:
            ColumnError, UsageError: a feature column is missing, appears twice, or is not numeric; or it is no table.
            RowsRejectedError: names the first row and column that cannot be scored.
        """
        refuse_other_tables(table)
        rows, rejects = self._score_table(table)
        if with_rejects:
            return rows, rejects
        _refuse_rejects(rejects, table.num_rows, "fix them, or pass with_rejects=True to get the rejects")
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
        """Score a frame. Returns its other columns unchanged, then the predictions, in the same row order.

        Args:
            frame: a pandas DataFrame; the result is one as well, with the same index. Columns are matched by their
                names as text, so column 0 is feature "0". Or any object with Arrow's C stream interface, such as
                polars, DuckDB and narwhals frames; the result is a `pyarrow.Table` (see `polars.from_arrow`).

        Raises:
            ColumnError, UsageError: a feature column is missing, appears twice, or is not numeric; or another column
                has the name of an output.
            RowsRejectedError: names the first row and column that cannot be scored.
        """
        if not is_pandas(frame):
            if not is_arrow(frame):
                raise UsageError(
                    f"score_frame takes a pandas DataFrame or an object with __arrow_c_stream__, not"
                    f" {type(frame).__name__}; collect a lazy frame first, or build a DataFrame from an array"
                )
            return _frame_rows(self, arrow_table(frame))
        import pandas as pd  # already imported by the caller

        _require(self.manifest, [str(name) for name in frame.columns])
        table = pandas_table(frame, self.features)
        predictions = _frame_rows(self, table).to_pandas().set_axis(frame.index)
        keys = frame.loc[:, [str(name) not in table.column_names for name in frame.columns]]
        taken = {str(name) for name in keys.columns} & set(predictions.columns)
        if taken:
            raise UsageError(f"the frame: column {min(taken)!r} is also the name of an output; rename it first")
        joined: pd.DataFrame = pd.concat([keys, predictions], axis=1)
        return joined

    @pinned()
    def shapes(self) -> list[ResultShape]:
        """The shape of the result of every node of the first member's graph; empty if it is not a graph."""
        model = self.members.models[0]
        return result_shapes(model, self.manifest, self.device) if isinstance(model, GraphModel) else []


def _require(manifest: BundleManifest, names: Sequence[str]) -> None:
    """Raise ColumnError, which lists the columns of a frame, if it lacks a feature."""
    if not {feature.name for feature in manifest.features} <= set(names):
        there = pa.schema([(name, pa.null()) for name in names])
        check_columns(there, manifest.features, text=(), source="the frame")


def _frame_rows(scorer: Scorer, table: pa.Table) -> pa.Table:
    rows, rejects = scorer.score_table(table, with_rejects=True)
    _refuse_rejects(rejects, table.num_rows, "fix them, or get the rejects with score_table(…, with_rejects=True)")
    return rows


def _refuse_rejects(rejects: pa.Table, num_rows: int, advice: str) -> None:
    """Raise RowsRejectedError if there are any, naming the first."""
    if rejects.num_rows:
        first = reasons_of(rejects)[0].as_py()
        raise RowsRejectedError(
            f"row {first['row_number']}: {described(first)} ({rejects.num_rows:,} of"
            f" {counted(num_rows, 'row')} cannot be scored);"
            f" {advice}"
        )


def _no_batch(schema: pa.Schema) -> pa.RecordBatch:
    """An empty batch, for a table without chunks."""
    fields = [field.with_type(without_runs(field.type)) for field in schema]
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in fields], schema=pa.schema(fields))
