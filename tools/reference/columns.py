"""The output columns of each task, from the code that names them."""

import re

import pyarrow as pa
from scoreline.pipeline.bundle.heads import head_fields
from scoreline.pipeline.options import ColumnOptions
from scoreline.pipeline.saving.heads import make_heads
from scoreline.pipeline.saving.specs import named_tasks
from scoreline.schemas.bundle import BundleManifest

import scoreline

from .markdown import code, table

#: Tasks as a reader writes them, with flags and the same options of a run.
EXAMPLES = (
    ('Binary(["no", "yes"])', "", ColumnOptions()),
    ('Multiclass(["no", "yes", "maybe"])', "", ColumnOptions()),
    ('Multiclass(["no", "yes", "maybe"])', "--probabilities list", ColumnOptions(probabilities="list")),
    ('Multiclass(["no", "yes", "maybe"])', "--top-k 2", ColumnOptions(top_k=2)),
    ('Multilabel(["sport", "science"])', "", ColumnOptions()),
    ("Regression()", "", ColumnOptions()),
    ('Regression(targets=["low", "high"])', "", ColumnOptions()),
    ("Regression(quantiles=[0.1, 0.9])", "", ColumnOptions()),
    ('Regression(horizons=["1h", "2h"])', "", ColumnOptions()),
    ('Regression(spread="variance")', "", ColumnOptions()),
    ("Regression(threshold=3.2)", "", ColumnOptions()),
    ('Tagging(["other", "person"])', "", ColumnOptions()),
    ('Generation(["<s>", "</s>", "hi"], start="<s>", end="</s>", steps=9)', "", ColumnOptions()),
    ('{"fraud": Binary(["no", "yes"]), "amount": Regression(output=1)}', "", ColumnOptions()),
)
TYPES = {r"\bfloat\b": "float32", r"\bdouble\b": "float64", r"fixed_size_list<item: (\w+)>\[(\d+)\]": r"list of \2 \1",
         r"list<item: (\w+)>": r"list of \1"}  # fmt: skip


def columns_section() -> str:
    """A row for each example, with the name and the type of every column."""
    rows = []
    for task, flags, options in EXAMPLES:
        spec = eval(task, {name: getattr(scoreline, name) for name in scoreline.__all__})
        heads = [each.head for each in make_heads(named_tasks(spec))]
        manifest = BundleManifest.model_construct(heads=heads, ensemble=None)
        fields = [field for head in heads for field in head_fields(manifest, head, options)]
        rows.append((code(task), code(flags), ", ".join(map(_field, fields))))
    return table(("task", "options", "columns"), rows)


def _field(field: pa.Field) -> str:
    kind = str(field.type)
    for pattern, name in TYPES.items():
        kind = re.sub(pattern, name, kind)
    return f"`{field.name}` {kind}"
