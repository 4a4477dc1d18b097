"""An output with attributions, written without a model."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from scoreline.pipeline.options import ColumnOptions, Explain, ExplainMethod
from scoreline.pipeline.outputs.folder_store import FolderStore
from scoreline.pipeline.outputs.manifest import write_manifest
from scoreline.pipeline.outputs.store import SUCCESS
from scoreline.schemas.run import HeadRecord

from planned_runs import ledger, part, partition, plan


def write_output(
    folder: Path, tables: Sequence[pa.Table], *, method: ExplainMethod | None = "shapley", prefix: str = ""
) -> Path:
    """Write tables of keys, `prediction` and attributions as the parts of a finished run."""
    source = partition("in.parquet")
    columns = ColumnOptions(prefix=prefix, explain=None if method is None else Explain(method=method))
    found = ledger(plan([source]), columns=columns)
    found.heads = [HeadRecord(name="output", task="regression", columns=[f"{prefix}prediction"])]
    store = FolderStore(folder)
    store.prepare()
    for split, table in enumerate(tables):
        target = f"in-{split:05d}.parquet"
        pq.write_table(table, store.path(target))
        found.publish(source, part(target, split=split, scored=table.num_rows, last=split == len(tables) - 1))
    write_manifest(store, found.manifest(None), found.record())
    store.write(SUCCESS, b"")
    return folder
