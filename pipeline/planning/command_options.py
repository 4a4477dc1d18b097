"""The options of `scoreline score` that concern the command, not what is scored: dates, the log, metrics. A part of the
option table. Imports neither torch nor click.
"""

from .option import Option
from .option_values import metrics_file
from .run_dates import run_date, time_zone

COMMAND_OPTIONS = (
    Option(
        name="run_date",
        group="Run",
        help="Replace {run_date} in the paths of bundle, input, output and trace, and in constants; weekday is the last"
        " Monday to Friday before today.",
        metavar="YYYY-MM-DD|today|yesterday|-2|weekday|monday",
        parse=run_date,
        part="command",
    ),
    Option(
        name="time_zone",
        group="Run",
        help="Time zone of today in --run-date, as in Europe/Berlin.",
        metavar="ZONE",
        parse=time_zone,
        shown_default="the machine's",
        part="command",
    ),
    Option(
        name="run_id",
        group="Run",
        help="Name of the run in its log and run.json.",
        metavar="ID",
        needs_text=True,
        shown_default="a random one",
    ),
    Option(
        name="metrics",
        group="Run",
        help="Write Prometheus metrics to this file whenever the command ends, for node_exporter's textfile collector.",
        metavar="FILE.prom",
        parse=metrics_file,
        path=True,
        part="command",
    ),
    Option(
        name="trace",
        group="Run",
        help="Write when each thread worked on which stage to this file, for ui.perfetto.dev; may contain {run_date}.",
        metavar="FILE.json",
        path=True,
        part="command",
    ),
    Option(
        name="log_format",
        group="Run",
        help="Format of the log; auto: text on a terminal, JSON elsewhere.",
        choices=("auto", "text", "json"),
        default="auto",
        part="command",
    ),
    Option(
        name="log_level",
        group="Run",
        help="Least severe level to log.",
        choices=("debug", "info", "warning", "error"),
        default="info",
        part="command",
    ),
    Option(
        name="progress",
        group="Run",
        help="Draw a progress bar.",
        switch=True,
        shown_default="on a terminal",
        part="command",
    ),
)
