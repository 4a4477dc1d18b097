"""An Airflow DAG (Airflow 3) that scores yesterday's files. A BashOperator cannot choose by exit code whether to retry;
a task can."""

import subprocess
from datetime import datetime, timedelta

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.sdk import dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

#: Exit codes that need a person.
PERSON = {1, 2, 65, 69, 73, 78}
NO_INPUT = 66
#: `ds` is the day on which the interval begins: yesterday. With a string in place of this, Airflow 3 makes it today.
NIGHTLY = CronDataIntervalTimetable("15 2 * * *", timezone="Europe/Berlin")


@dag(schedule=NIGHTLY, start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def nightly_scoring():
    """One task for each day; a cleared or retried task scores only what is missing."""

    @task(retries=4, retry_delay=timedelta(minutes=10))
    def score(ds=None):
        """Score the files of the day `ds`."""
        words = ["/opt/scoreline/bin/scoreline", "score", "--job", "/srv/scoring/nightly.toml", "--run-date", ds]
        code = subprocess.run(words, check=False).returncode
        if code == NO_INPUT:
            raise AirflowSkipException(f"no input for {ds}")
        if code in PERSON:
            raise AirflowFailException(f"scoreline ended with {code}; its last log line has the cause")
        if code:  # 71, 74, 75 and signals: Airflow tries again
            raise RuntimeError(f"scoreline ended with {code}")

    score()


nightly_scoring()
