"""`scoreline pack`: a bundle from files saved at training time."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..pipeline.errors import BundleError, UsageError

if TYPE_CHECKING:
    from ..schemas.pack import PackSpec


@click.command()
@click.argument("paths", nargs=-1, metavar="[SPEC.toml] OUT")
@click.option("--from-mlflow", "mlflow", metavar="DIR", help="Take model, features and sample from an MLflow model.")
@click.option("--allow-import", is_flag=True, help="Import a factory, or load a model file that is code.")
@click.option("--allow-pickle", is_flag=True, help="Unpickle files, in a child process that hands back data.")
def pack(paths: tuple[str, ...], mlflow: str | None, allow_import: bool, allow_pickle: bool) -> int:
    """Make a bundle from files saved at training time.

    SPEC.toml names them; paths are relative to it:

    \b
      features = ["alcohol", "ash"]
      task = "binary"
      labels = ["no", "yes"]
      sample = "sample.csv"          # some raw rows
      expected = "expected.csv"      # predictions for them, if you have them
      threshold = 0.3                # quantiles, spread, bounds, [heads.NAME] …: as save_bundle has them
      # images = {photo = {size = [224, 224]}}, sequences = {text = {longest = 64}}, generate = {…}, likewise
      prune = 0.5                    # half of the weights become zero, if you like
      [model]
      weights = "weights.pt"         # a state dict; or .safetensors
      layers = [{type = "Linear", in_features = 2, out_features = 1}]
      [scaler]
      file = "scaler.skops"          # or .npz, .json, .joblib

    \b
    Examples:
      scoreline pack wine.toml bundles/wine
      scoreline pack wine.toml bundles/wine --allow-pickle      # a .joblib or .pkl scaler
      scoreline pack --from-mlflow mlruns/…/model task.toml bundles/wine --allow-pickle

    A model that becomes data needs no permission when it scores, however it was saved.
    """
    from ..pipeline.saving.pack import pack as make_bundle  # here, so that --help stays light
    from ..pipeline.saving.pickle_files import NeedsPickleError
    from ..pipeline.saving.spec_file import read_spec
    from ..schemas.pack import PackSpec
    from .terminal.tables import answer

    if len(paths) not in ((1, 2) if mlflow else (2,)):
        raise UsageError("scoreline pack takes SPEC.toml and OUT (with --from-mlflow, OUT alone will do)")
    out = paths[-1]
    spec, folder = (read_spec(Path(paths[0])), Path(paths[0]).parent) if len(paths) == 2 else (PackSpec(), Path())
    with tempfile.TemporaryDirectory() as scratch:
        if mlflow is not None:
            spec, folder = _with_mlflow(spec, folder, Path(mlflow), Path(scratch))
        try:
            digest = make_bundle(spec, folder, out, allow_import=allow_import)
        except NeedsPickleError:
            if not allow_pickle:
                raise
            digest = _by_child(spec, folder, out, Path(scratch) / "bundle", allow_import=allow_import)
    answer(f"packed {out}\n{digest}\nnext: scoreline check --bundle {out}")
    return 0


def _with_mlflow(spec: "PackSpec", folder: Path, mlflow: Path, scratch: Path) -> tuple["PackSpec", Path]:
    """The spec with what MLflow answers; the input example becomes a sample file."""
    from ..pipeline.saving.mlflow import EXAMPLE, spec_from_mlflow

    spec, example = spec_from_mlflow(mlflow.absolute(), spec)
    if spec.sample is None and example is not None:
        import pandas as pd  # the example is a handful of rows

        pd.DataFrame(example).to_csv(scratch / EXAMPLE, index=False)
        spec = spec.model_copy(update={"sample": str(scratch / EXAMPLE)})
    return spec, folder.absolute()


def _by_child(spec: "PackSpec", folder: Path, out: str, made: Path, *, allow_import: bool) -> str:
    """Let a child unpickle and make the bundle, then take its data over: read, verified, written anew."""
    from ..pipeline.bundle.bundle import open_bundle, write_bundle
    from ..pipeline.model.onnx_runtime import SWITCH
    from ..pipeline.scoring.scorer import Scorer

    told = made.parent / "answer.json"
    asked = {"spec": spec.model_dump(mode="json"), "folder": str(folder.absolute()), "out": str(made)}
    # -P: the folder this happens to run in is nobody's to import from.
    child = subprocess.run(
        [sys.executable, "-P", "-m", "scoreline.jobs.unpickle"],
        input=json.dumps({**asked, "answer": str(told), "allow_import": allow_import}),
        stdout=subprocess.DEVNULL,
        env={**os.environ, SWITCH: "1"},
        text=True,
        check=False,
    )
    try:
        said = json.loads(told.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"the process that unpickles ended with {child.returncode} and no answer") from error
    if "error" in said:
        raise BundleError(said["error"])
    bundle = open_bundle(made)
    Scorer.load(bundle, device="cpu", trust=(bundle.digest,) if allow_import else ())
    return write_bundle(out, bundle.manifest, {name: bundle.read(name) for name in bundle.manifest.files})
