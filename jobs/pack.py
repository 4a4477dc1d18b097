"""`scoreline pack`: makes a bundle from files saved at training time."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import BundleError, UsageError
from .terminal.paths import PathText

if TYPE_CHECKING:
    from ..schemas.pack import PackSpec


#: Every field of a spec; docs/reference/pack-spec.md has the same listing. A real spec has features or [inputs], one
#: [task] or several by name, and one model or several [[model.members]].
FIELDS = """\
features = ["age", "income"]   # columns of the model's one input table, in its order; otherwise use [inputs]
sample = "sample.csv"          # some raw rows, .csv or .parquet; required
expected = "expected.csv"      # predictions for them, made outside Scoreline
reference = "training.parquet" # rows that the model was trained on, kept as counts, to detect drift

[inputs.numbers]               # named and ordered as forward's arguments; a single input is [inputs] itself
kind = "table"
columns = ["age", "city"]
vocabularies = {city = ["Berlin", "Paris"]}   # the words of text columns; a word's token is its index

[inputs.photo]
kind = "image"
column = "photo"               # bytes, or paths relative to the folder of the sample
size = [224, 224]              # height and width
resize = 256                   # the shorter side, before the center crop
channels = 3                   # or 1
mean = [0.485, 0.456, 0.406]   # by channel
std = [0.229, 0.224, 0.225]
interpolation = "bilinear"     # or nearest, box, hamming, bicubic, lanczos
exif = true                    # rotate images by their EXIF orientation

[inputs.text]
kind = "tokens"
column = "words"               # lists of words or of tokens
longest = 128                  # longer lists are rejected
vocabulary = ["<unk>", "good"] # of words
unknown = "<unk>"              # the word that replaces unknown ones
mask = "real"                  # if forward takes a mask; or padding, lengths
pad = 0                        # the token that pads lists, hidden by the mask

[inputs.review]
kind = "text"
columns = "review"             # or two columns, for pairs
tokenizer = "tokenizer.json"   # of Hugging Face's tokenizers
longest = 128                  # tokens, special tokens included
mask = "attention"             # if forward takes a mask; or real, padding, lengths
types = true                   # if forward takes the types of the tokens
pad = 0                        # the token that pads texts; that of the tokenizer if omitted
special_tokens = true          # [CLS] and the like
too_long = "cut"               # or reject

[inputs.prices]
kind = "floats"
columns = ["open", "close"]    # lists of numbers, side by side
longest = 64
mask = "lengths"
pad = 0

[task.fraud]                   # a single task is [task] itself
kind = "binary"
labels = ["no", "yes"]         # in the order of the model's outputs
outputs = "logits"             # or probabilities, log_probabilities
output = "fraud"               # key in the model's dict, or index in its tuple
threshold = 0.3                # predict "yes" above this probability
bounds = true                  # check that probabilities lie in [0, 1] and sum to 1
out_of_bounds = "reject"       # or count

[task.sort]
kind = "multiclass"
labels = ["barolo", "barbera", "grignolino"]
outputs = "logits"
output = 0
bounds = true
out_of_bounds = "count"

[task.topics]
kind = "multilabel"
labels = ["sport", "science"]
outputs = "logits"
output = 1
threshold = {science = 0.3}    # or one number for all labels, or a list with one per label
bounds = true
out_of_bounds = "count"

[task.amount]
kind = "regression"
targets = ["low", "high"]      # names of several outputs
horizons = ["1h", "2h"]        # names of the time steps of a forecast [rows, steps, ...]
output = [0, 1]                # several outputs are concatenated
scaler = {file = "y.skops"}    # of the targets; or the number that they were divided by
quantiles = [0.1, 0.9]         # the quantiles that the model predicts
threshold = 3.2                # flags rows above it, such as anomalies; for one number per row
spread = "variance"            # the second half of the outputs; or log_variance, std. Excludes quantiles and horizons
bounds = [[0.0, 100.0], [0.0, 200.0]]   # low and high of each target in its unit; of one target [0.0, 100.0]
out_of_bounds = "count"

[task.tags]
kind = "tagging"
labels = ["other", "person"]
outputs = "logits"
output = 0
bounds = true
out_of_bounds = "count"

[task.answer]
kind = "generation"
vocabulary = ["<s>", "</s>", "yes", "no"]
start = "<s>"                  # omit it to continue the input list
end = "</s>"
steps = 20                     # maximum number of words
beams = 4                      # 1 is greedy
length_penalty = 0.6
outputs = "logits"
output = 0

[expressions]                  # features that SQL computes from the raw columns of a row; docs/reference/expressions.md
hour = "hour(ts)"
amount_log = "ln(amount + 1)"

[[scaler]]                     # a single scaler is [scaler]
file = "scaler.skops"          # or .npz, .json, .joblib, .pkl
features = ["age", "income"]   # required if there are several scalers
kind = "standard"              # meaning of the numbers in an .npz or .json, if their names do not tell; or minmax,
                               # maxabs, robust

[model]                        # for one model, with the fields of [[model.members]]
call = "arguments"             # how forward takes several inputs; or "dict"
prune = 0.5                    # share of each layer's weights to set to zero, smallest first
combine = "probability"        # for several models; or logit, vote; mean for regression
std = true                     # also write prediction_std, for several models

[[model.members]]
file = "model.onnx"            # a whole model: .onnx, .pt2, TorchScript, or a pickled module, skorch net or Pipeline
weights = "last.ckpt"          # or weights, with layers or factory: a state dict, or a checkpoint that contains one;
                               # .safetensors, or saved by torch.save
weights_key = "state_dict"     # entry of a checkpoint that contains the state dict; found if omitted
weights_prefix = "module."     # prefix of every name in the state dict; removed; found if omitted
weights_ignore = ["loss.weight"]              # names in the state dict that the model does not need
layers = [{type = "Linear", in_features = 2, out_features = 1}]   # layers of torch.nn, in sequence
factory = "train:make_model"   # function that returns the module, imported from the spec's folder
factory_args = {width = 8}
"""
HELP = """Make a bundle from files saved at training time.

SPEC.toml names them; paths are relative to it:

\b
  features = ["alcohol", "ash"]
  sample = "sample.csv"          # some raw rows
  expected = "expected.csv"      # predictions for them, if you have them
  [task]
  kind = "binary"
  labels = ["no", "yes"]
  [model]
  weights = "weights.pt"         # a state dict or a checkpoint, also of Lightning; or .safetensors
  layers = [{type = "Linear", in_features = 2, out_features = 1}]
  [scaler]
  file = "scaler.skops"          # or .npz, .json, .joblib

\b
Examples:
  scoreline pack wine.toml bundles/wine
  scoreline pack wine.toml bundles/wine --allow-pickle      # a .joblib or .pkl scaler, torch.save(model)
  scoreline pack --from-mlflow mlruns/…/model task.toml bundles/wine --allow-pickle

A model that is stored as data scores without --trust, whatever format it was saved in.
"""
EPILOG = "Every field of a spec:\n\n" + "\n\n".join(f"\b\n{part}" for part in FIELDS.strip().split("\n\n"))


@click.command(help=HELP, epilog=EPILOG)
@click.argument("paths", nargs=-1, metavar="[SPEC.toml] OUT", type=PathText())
@click.option("--from-mlflow", "mlflow", metavar="DIR", help="Read model, features and sample from an MLflow model.")
@click.option("--allow-import", is_flag=True, help="Import a factory or a pickle's classes, or load code.")
@click.option("--allow-pickle", is_flag=True, help="Unpickle files, in a child process that returns only data.")
def pack(paths: tuple[str, ...], mlflow: str | None, allow_import: bool, allow_pickle: bool) -> int:
    """Make a bundle and print its digest."""
    from ..pipeline.saving.notes import collected_notes
    from ..pipeline.saving.pack import pack as make_bundle  # here, so that --help stays light
    from ..pipeline.saving.pickle_files import NeedsPickleError
    from ..pipeline.saving.spec_file import read_spec
    from ..schemas.pack import PackSpec
    from .terminal.tables import answer

    if len(paths) not in ((1, 2) if mlflow else (2,)):
        raise UsageError("scoreline pack needs SPEC.toml and OUT; only with --from-mlflow is SPEC.toml optional")
    out = paths[-1]
    spec, folder = (read_spec(Path(paths[0])), Path(paths[0]).parent) if len(paths) == 2 else (PackSpec(), Path())
    with tempfile.TemporaryDirectory() as scratch:
        if mlflow is not None:
            spec, folder = _with_mlflow(spec, folder, Path(mlflow), Path(scratch))
        try:
            with collected_notes() as notes:
                digest = make_bundle(spec, folder, out, allow_import=allow_import)
        except NeedsPickleError:
            if not allow_pickle:
                raise
            digest, notes = _by_child(spec, folder, out, Path(scratch) / "bundle", allow_import=allow_import)
    said = "".join(f"note: {note}\n" for note in notes)
    answer(f"{said}packed {out}\n{digest}\nnext: scoreline check --bundle {out}")
    return 0


def _with_mlflow(spec: "PackSpec", folder: Path, mlflow: Path, scratch: Path) -> tuple["PackSpec", Path]:
    """The spec, completed from an MLflow model; its input example becomes a sample file."""
    from ..pipeline.saving.mlflow import EXAMPLE, spec_from_mlflow

    spec, example = spec_from_mlflow(mlflow.absolute(), spec)
    if spec.sample is None and example is not None:
        import pandas as pd  # the example is a handful of rows

        pd.DataFrame(example).to_csv(scratch / EXAMPLE, index=False)
        spec = spec.model_copy(update={"sample": str(scratch / EXAMPLE)})
    return spec, folder.absolute()


def _by_child(spec: "PackSpec", folder: Path, out: str, made: Path, *, allow_import: bool) -> tuple[str, list[str]]:
    """Unpickle and make the bundle in a child process, then read its data, verify it and write it again. Returns the
    digest and the notes."""
    from ..pipeline.bundle.bundle import open_bundle
    from ..pipeline.bundle.write import write_bundle
    from ..pipeline.model.onnx_runtime import SWITCH
    from ..pipeline.scoring.scorer import Scorer

    answer_file = made.parent / "answer.json"
    request = {"spec": spec.model_dump(mode="json"), "folder": str(folder.absolute()), "out": str(made)}
    # -P: nothing is imported from the current folder.
    child = subprocess.run(
        [sys.executable, "-P", "-m", "scoreline.jobs.unpickle"],
        input=json.dumps({**request, "answer": str(answer_file), "allow_import": allow_import}),
        stdout=subprocess.DEVNULL,
        env={**os.environ, SWITCH: "1"},
        text=True,
        check=False,
    )
    try:
        answer = json.loads(answer_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"the process that unpickles ended with exit code {child.returncode} and without a result"
        ) from error
    if "error" in answer:
        raise BundleError(answer["error"])
    bundle = open_bundle(made)
    Scorer.load(bundle, device="cpu", trust=(bundle.digest,) if allow_import else ())
    digest = write_bundle(out, bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files})
    return digest, answer["notes"]
