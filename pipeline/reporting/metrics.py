"""The figures of a command as a Prometheus textfile. Collects them from the events of a run; does not write files.

Times are gauges in Unix seconds, and samples have no timestamps: node_exporter refuses them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..events import Event
from ..running.events import BundleLoaded, NothingToDo, RunEnded
from ..running.findings import DriftMeasured

_LAST_SUCCESS = "scoreline_last_success_timestamp_seconds"
#: The most series with the PSI of a column.
MAX_COLUMNS = 100
#: The longest name of a column, in characters.
MAX_NAME = 200
_HELP = {
    "scoreline_last_run_timestamp_seconds": "When the command last ended.",
    "scoreline_last_exit_code": "Its exit code.",
    _LAST_SUCCESS: "When it last ended with exit code 0.",
    "scoreline_duration_seconds": "How long it took.",
    "scoreline_rows": "Rows of the output by outcome.",
    "scoreline_stage_waited_seconds": "How long the run waited for each stage.",
    "scoreline_drift_worst_psi": "The largest population stability index (PSI) above chance; 0 if there is none.",
    "scoreline_drift_psi": "The largest PSI of a column in any input, from 0.1 and above chance.",
    "scoreline_bundle_info": "The bundle that made the output; always 1.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandEnd:
    """How a command ended. `time_s`: when, in Unix seconds; `last_success_s`: of an earlier command."""

    job_name: str
    exit_code: int
    time_s: float
    duration_s: float
    last_success_s: float | None


@dataclass(kw_only=True, slots=True)
class RunMetrics:
    """A subscriber that remembers what a run says of itself. Empty if the command fails before the run begins."""

    rows: dict[str, int] = field(default_factory=dict)
    waited_s: dict[str, float] = field(default_factory=dict)
    bundle: tuple[str, str] | None = None
    drift: DriftMeasured | None = None

    def __call__(self, event: Event) -> None:
        """Remember rows by outcome, seconds by stage, the drift, and the bundle."""
        match event:
            case BundleLoaded() | NothingToDo():
                self.bundle = event.bundle, event.digest
        match event:
            case RunEnded():
                self.waited_s = {name: spent["waiting_s"] for name, spent in event.stages.items()}
                self.waited_s = {"start-up": event.startup_s, **self.waited_s}
        match event:
            case RunEnded() | NothingToDo():
                self.rows = {"scored": event.rows - event.rejected, "rejected": event.rejected}
            case DriftMeasured():
                self.drift = event

    def text(self, end: CommandEnd) -> str:
        """The file of a command that has ended, in the text format of Prometheus."""
        success = end.time_s if end.exit_code == 0 else end.last_success_s
        samples: list[tuple[str, Mapping[str, str], float]] = [
            ("scoreline_last_run_timestamp_seconds", {}, end.time_s),
            ("scoreline_last_exit_code", {}, end.exit_code),
            *([] if success is None else [(_LAST_SUCCESS, {}, success)]),
            ("scoreline_duration_seconds", {}, end.duration_s),
            *(("scoreline_rows", {"outcome": outcome}, rows) for outcome, rows in self.rows.items()),
            *(("scoreline_stage_waited_seconds", {"stage": name}, spent) for name, spent in self.waited_s.items()),
            *self._drift_samples(),
        ]
        if self.bundle is not None:
            samples.append(("scoreline_bundle_info", {"bundle": self.bundle[0], "digest": self.bundle[1]}, 1))
        lines, described = [], set()
        for name, labels, value in samples:
            if name not in described:
                lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge"]
                described.add(name)
            pairs = {"job_name": end.job_name, **labels}
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in pairs.items())
            lines.append(f"{name}{{{shown}}} {value!r}")
        return "\n".join(lines) + "\n"

    def _drift_samples(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """The largest PSI for each baseline, and for the columns with drift; none if nothing was compared."""
        if self.drift is None:
            return
        for against, worst in self.drift.worst.items():
            yield "scoreline_drift_worst_psi", {"against": against}, worst["psi"]
        named = set[tuple[str, ...]]()
        for one in self.drift.columns[:MAX_COLUMNS]:
            labels = {"column": one["column"][:MAX_NAME], "role": one["role"], "against": one["against"]}
            if (key := tuple(labels.values())) not in named:  # of names that are cut, the one with the largest
                named.add(key)
                yield "scoreline_drift_psi", labels, one["psi"]


def last_success(text: str) -> float | None:
    """When the command last succeeded, according to an earlier file; None if it does not say."""
    found = re.search(rf"^{_LAST_SUCCESS}{{.*}} ([0-9.e+]+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
