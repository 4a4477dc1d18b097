"""The options of `scoreline score` about what scores: shards and engines. A part of the option table.

Imports neither torch nor click.
"""

from typing import get_args

from ..options import EngineName
from . import option_values as values
from .option import Option

RUN_OPTIONS = (
    Option(
        name="shard",
        group="Run",
        help="Score one of several shards, each in a process of its own, on any machine that shares the output; then"
        " run scoreline finish. auto: the index in the array job of AWS Batch, Cloud Run, Kubernetes or Slurm.",
        metavar="3/16|auto|auto/16",
        parse=values.shard,
    ),
    Option(
        name="engine",
        group="Run",
        help="Score in threads of this process, in several processes, or on the workers of a Ray cluster that share the"
        " input and the output. auto: in processes where there are thousands of small files and no GPU, which is"
        " faster there, otherwise in threads.",
        choices=get_args(EngineName),
        default="auto",
    ),
    Option(
        name="address",
        group="Run",
        help="Address of the Ray cluster: HOST:PORT, or auto for the one of this machine.",
        metavar="auto|HOST:PORT",
        needs_text=True,
        shown_default="RAY_ADDRESS, or else a new Ray on this machine",
    ),
    Option(
        name="workers",
        group="Run",
        help="Number of processes, or of workers on Ray.",
        metavar="N",
        parse=values.positive,
        number=True,
        shown_default="one for each core, or as many as the Ray cluster has cores or GPUs for",
    ),
    Option(
        name="gpus_per_worker",
        group="Run",
        help="GPUs of each worker on Ray; without it, workers score on a CPU core each.",
        metavar="N",
        parse=values.positive,
        number=True,
    ),
)
