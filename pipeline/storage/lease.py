"""A lock in an object store, which only one process has at a time, and which one that has died loses. Independent of
what it protects.

Whoever takes the lock creates the object of the next epoch, `00000007.held`, which only one can, and then rewrites
`00000007.beat` every few seconds; `00000007.released` says that it has ended. Another process takes over once it has
seen the same beat for `LIFETIME_S` by its own clock: no clocks of two machines are compared. The holder makes changes
only while its last beat is younger than a quarter of that: a request that is retried for two minutes has then ended
before another one can take over. What it cannot exclude is a request that was sent in time and arrives even later:
changes must be conditional themselves.
"""

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from .remote import Bucket
from .uris import ChangedError

#: How long a beat must be unchanged until another process takes over.
LIFETIME_S = 240.0
#: How often the holder rewrites its beat; others look at it twice as often.
BEAT_S = 5.0
#: Every so many beats, and before one that is late, the holder checks that nobody has taken over: it may have been
#: frozen, its clock too.
BEATS_PER_CHECK = 4
_NAME = re.compile(r"(?P<epoch>[0-9]{8})\.(held|beat|released)")

#: Called while a lock may belong to a dead process: who has it, and for how many seconds that is observed.
Waiting = Callable[[str, float], None]


class LeaseHeldError(Exception):
    """Another process has the lock, or takes it at this moment. The message says who."""


class LeaseLostError(Exception):
    """This process may no longer have the lock. The message says why."""


class Lease:
    """A lock, below a prefix of its own.

    Args:
        prefix: ends in `/`.
        who: describes the process to others.
        waiting: called before waiting for a holder that may have died.
    """

    def __init__(self, bucket: Bucket, prefix: str, who: Mapping[str, object], waiting: Waiting | None = None) -> None:
        self._bucket, self._prefix = bucket, prefix
        self.record = json.dumps({**who, "process": this_process(), "nonce": secrets.token_hex(16)}).encode()
        self._waiting = waiting
        self._epoch = 0
        self._good = 0.0  # when the last beat that arrived was sent
        self._lost = ""
        self._end = Event()
        self._thread = Thread(target=self._beat_on, name="lease", daemon=True)

    def take(self) -> None:
        """Take the lock.

        Raises:
            LeaseHeldError: another process has it.
            OSError: the service fails.
        """
        while True:
            self._good = 0.0
            self._epoch = self.refuse_held() + 1  # of that look: a later one may show another holder
            if self._create():
                self._beat(0)
                if self._last_epoch() == self._epoch:  # others may have waited for the beat in vain
                    break
        self._thread.start()
        self._remove_earlier()

    def refuse_held(self) -> int:
        """Raise LeaseHeldError if a living process has the lock. Takes `LIFETIME_S` if a dead one of another machine
        has. Returns the last epoch, which has ended."""
        found = self._epochs()
        top = _last(found)
        if not top or "released" in found[top]:
            return top
        holder = self._holder(top)
        if has_ended(holder.get("process")):
            return top
        shown = _shown(holder)
        seen, start = self._etag(top, "beat"), _now()
        told = False
        while (left := start + LIFETIME_S - _now()) > 0:
            self._end.wait(min(BEAT_S / 2, left))
            if self._etag(top, "beat") != seen or self._etag(top, "released") is not None:
                raise LeaseHeldError(shown)
            if not told and self._waiting is not None and _now() - start > 2 * BEAT_S:
                self._waiting(shown, LIFETIME_S)
                told = True
        return top

    def check(self) -> None:
        """Raise LeaseLostError unless this process certainly has the lock. Makes no request."""
        if self._lost:
            raise LeaseLostError(self._lost)
        if (age := _now() - self._good) > LIFETIME_S / 4:
            raise LeaseLostError(f"it was not renewed for {age:.0f} s, so another run may have taken over")

    def release(self) -> None:
        """Give up the lock. Without an object that says so, as where the service fails, the next process waits for
        `LIFETIME_S`."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join(BEAT_S)  # a request that hangs does no harm
        if self._epoch and self._good:
            with suppress(OSError, LeaseLostError):
                self.check()
                self._bucket.write(self._key(self._epoch, "released"), b"")

    def _create(self) -> bool:
        """Create the object of the epoch. Returns False if another process has."""
        key = self._key(self._epoch, "held")
        try:
            self._bucket.create(key, self.record)
        except ChangedError:
            with suppress(FileNotFoundError):
                return self._bucket.read(key) == self.record  # the answer to its own request was lost
            return False
        return True

    def _remove_earlier(self) -> None:
        """Remove the objects of earlier epochs."""
        for epoch, kinds in self._epochs().items():
            for kind in kinds if epoch < self._epoch else ():
                with suppress(OSError):
                    self._bucket.delete(self._key(epoch, kind))

    def _beat_on(self) -> None:
        number = 0
        while not self._end.wait(BEAT_S):
            number += 1
            late = _now() - self._good > LIFETIME_S / 4
            with suppress(OSError):
                if (late or number % BEATS_PER_CHECK == 0) and self._last_epoch() != self._epoch:
                    self._lost = "another run has taken over"
                    return
                self._beat(number)

    def _beat(self, number: int) -> None:
        sent = _now()
        self._bucket.write(self._key(self._epoch, "beat"), self.record + f" {number}".encode())
        self._good = sent

    def _epochs(self) -> dict[int, set[str]]:
        """The kinds of objects of each epoch."""
        found: dict[int, set[str]] = {}
        for one in self._bucket.list(self._prefix.removesuffix("/")):
            if match := _NAME.fullmatch(one.key.rpartition("/")[2]):
                found.setdefault(int(match["epoch"]), set()).add(match[2])
        return found

    def _last_epoch(self) -> int:
        return _last(self._epochs())

    def _holder(self, epoch: int) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            holder = json.loads(self._bucket.read(self._key(epoch, "held")))
            if isinstance(holder, dict):
                return holder
        return {}

    def _etag(self, epoch: int, kind: str) -> str | None:
        try:
            return self._bucket.head(self._key(epoch, kind)).etag
        except FileNotFoundError:
            return None

    def _key(self, epoch: int, kind: str) -> str:
        return f"{self._prefix}{epoch:08d}.{kind}"


def _last(epochs: Mapping[int, set[str]]) -> int:
    """The last epoch that a process has taken; 0 if none has."""
    return max((epoch for epoch, kinds in epochs.items() if "held" in kinds), default=0)


def this_process() -> dict[str, object] | None:
    """What identifies this process among all processes of all machines; None where the system does not say."""
    return _process(os.getpid())


def has_ended(process: object) -> bool:
    """Whether a process, as `this_process` described it, was one of this machine and has ended. False if unknown: it
    may run on another machine, or in another container."""
    here = this_process()
    if not isinstance(process, dict) or here is None or not isinstance(process.get("pid"), int):
        return False
    if (process.get("boot"), process.get("namespace")) != (here["boot"], here["namespace"]):
        return False
    return _process(process["pid"]) != process


def _process(pid: int) -> dict[str, object] | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return {"pid": pid, "boot": boot, "namespace": namespace, "started": started if state not in "ZX" else "ended"}


def _shown(holder: Mapping[str, object]) -> str:
    if not holder:
        return "another run"
    return f"process {holder.get('pid')} on {holder.get('host')}, run {holder.get('run_id')}"


def described(run_id: str) -> dict[str, object]:
    """This process, as messages name it."""
    return {"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id}


def _now() -> float:
    """Seconds that also pass while the machine is suspended, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
