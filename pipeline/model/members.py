"""The members of a bundle on their device: forward passes, smaller ones where memory runs out, optionally compiled.
Independent of columns, labels and files.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...schemas.heads import AnyHead
from ...schemas.inputs import AnyInput
from ..errors import BundleError, ScorelineError, one_line
from ..records import Inputs, Sequences
from ..tasks.probabilities import FEW_LABELS
from ..tasks.tasks import task_of
from .devices import Clock, HostClock
from .first_rows import FirstOfBlock
from .forward import Call, forward
from .generate import generate
from .memory import halving
from .modes import pinned
from .onednn import use_mkl
from .passes import Pass, Passes, in_row_order, num_rows, real_steps, size
from .pieces import Outputs, Pieces
from .tf32 import float32_products


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """`heads[name]`: `[rows, members × width]`, or such values for each step, of the rows that did not fail. `failed`:
    the indices of the others, with the reasons. `retried`: the errors of groups of rows of which none failed alone."""

    heads: Outputs
    failed: Mapping[int, str]
    retried: tuple[str, ...] = ()


class Members:
    """The models of a bundle, ready to run.

    Args:
        pass_rows: the most rows, or steps of sequences, of one pass.
        padded: whether sequences of different lengths may be padded to share a pass.
        tf32: whether a GPU multiplies float32 values in TF32.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        inputs: Sequence[AnyInput],
        heads: Sequence[AnyHead],
        *,
        call: Call,
        device: torch.device,
        pass_rows: int,
        padded: bool = True,
        tf32: bool = False,
    ) -> None:
        self.models = self._plain = list(models)
        self.pass_rows = pass_rows
        #: The most rows that the device has memory for, after it has run out of memory.
        self.max_rows_in_memory: int | None = None
        #: Whether the models get copies of their inputs. They may overwrite them, and others still need them: other
        #: members, retries of the same rows, hidden layers, attributions.
        self.keep_inputs = False
        self.passes = Passes(inputs, pass_rows=pass_rows, padded=padded)
        self._inputs, self._heads, self._call, self._device, self._tf32 = inputs, heads, call, device, tf32

    def __len__(self) -> int:
        return len(self.models)

    def use_mkl(self) -> bool:
        """Multiply by MKL instead of oneDNN. Returns whether that changes anything."""
        changed = [use_mkl(model) for model in self.models]
        return any(changed)

    def stop(self) -> None:
        """Make runs in other threads raise StoppedError at their next pass."""
        self.passes.stop()

    def compile(self, probe: Callable[[], object]) -> str | None:
        """Compile the models with `torch.compile`; the original models are restored if that or the probe fails.

        Args:
            probe: runs the compiled models; raises where their results differ.

        Returns:
            None, or the reason why the models are not compiled.
        """
        plain = self.models
        with pinned():  # compiled code is specialised for these modes
            try:
                import torch._inductor.config as inductor  # takes a second, and only --compile needs it

                inductor.compile_threads = 1  # no processes that could outlive a command
                self.models = [torch.compile(model, dynamic=True) for model in plain]  # type: ignore[misc]
                probe()
            except Exception as error:  # a compiler may raise anything
                self.models = plain
                return one_line(error).partition(" Set TORCHDYNAMO_VERBOSE")[0]
        return None

    @property
    def compiled(self) -> bool:
        """Whether the models are compiled."""
        return self.models is not self._plain

    def use_plain(self) -> None:
        """Restore the models that were compiled."""
        self.models = self._plain

    def run(self, inputs: Inputs, clock: Clock | None = None) -> Outputs:
        """The raw outputs of some rows, in passes of `pass_rows`; these are halved when the device runs out of memory.

        Args:
            clock: measures padding sequences and running models, as `pad` and `forward`.

        Raises:
            DeviceFailedError: there is not enough memory for a single row.
        """

        used = HostClock() if clock is None else clock

        def run(step: int) -> Outputs:
            pieces = self._passed(inputs, step, used)
            with used.measure("forward"):
                joined = pieces.joined()
                return {head.name: self._laid_out(joined[head.name]) for head in self._heads}

        step = min(size(inputs), self.max_rows_in_memory or self.pass_rows)
        with float32_products(self._device, tf32=self._tf32):
            return halving(run, step, device=self._device, halved=self._remember)

    def _laid_out(self, values: Tensor | Sequences) -> Tensor | Sequences:
        """Outputs of a GPU for few labels, column by column: decoding goes label by label, and the device transposes
        faster than the host. Those of several members stay row by row, since the order of additions may depend on it.
        """
        if self._device.type != "cuda" or isinstance(values, Sequences) or len(self.models) > 1:
            return values
        few = values.dim() == 2 and values.shape[1] <= FEW_LABELS
        return values.T.contiguous().T if few else values

    def _remember(self, rows: int) -> None:
        self.max_rows_in_memory = rows

    def _passed(self, inputs: Inputs, step: int, clock: Clock) -> Pieces:
        pieces = Pieces(num_rows(inputs))
        cut, cutting = self.passes.cut(inputs, step), "pad" if self.passes.pads else "forward"
        while True:
            with clock.measure(cutting):
                one = next(cut, None)
            if one is None:
                return pieces
            with clock.measure("forward", nodes=True):
                pieces.add(one, self._at_once(one))

    def run_isolating_failures(self, inputs: Inputs, *, error: str, first: FirstOfBlock | None = None) -> Passed:
        """Run rows that failed together; rows that fail alone are found by bisection and left out.

        Args:
            error: the reason why they failed together.
            first: which of them are among the first rows of a file. If a model raises on each of the first eight alone,
                it is at fault, not the rows.

        Raises:
            ModelFailedError: each of the first eight rows has failed alone.
        """
        rows = num_rows(inputs)
        failed: dict[int, str] = {}
        retried: dict[str, None] = {}

        def halve(start: int, stop: int) -> list[Outputs]:
            try:
                return [self.run(_part(inputs, start, stop))]
            except (ScorelineError, MemoryError):
                raise
            except Exception as error:  # a model may raise anything
                if stop - start == 1:
                    failed[start] = f"the model fails: {one_line(error)}"
                    return []
                reason = one_line(error)
            middle, before = (start + stop) // 2, len(failed)
            pieces = halve(start, middle) + halve(middle, stop)
            if len(failed) == before:
                retried[reason] = None
            return pieces

        alone = 0 if first is None else first.count
        pieces = [piece for index in range(alone) for piece in halve(index, index + 1)]
        if first is not None:
            first.add(failed)
        if rows > alone:
            pieces += halve(alone, rows)
        if not failed:
            retried[error] = None
        if not pieces:
            return Passed(heads={}, failed=failed)
        heads = {head.name: in_row_order([piece[head.name] for piece in pieces], []) for head in self._heads}
        return Passed(heads=heads, failed=failed, retried=tuple(retried))

    def _at_once(self, one: Pass) -> Outputs:
        """The raw outputs of one pass, those of all members concatenated."""
        first = self._heads[0]
        if task_of(first).generates:
            (model,) = self.models
            text = generate(
                model,
                one,
                self._inputs,
                task_of(first).head,
                call=self._call,
                pass_rows=self.pass_rows,
                check_stopped=self.passes.check_stopped,
            )
            return {first.name: text}
        each = [forward(model, self.arguments(one), self._heads, call=self._call) for model in self.models]
        found: Outputs = {}
        for head in self._heads:
            values = each[0][head.name] if len(each) == 1 else torch.cat([raw[head.name] for raw in each], dim=-1)
            found[head.name] = _of_steps(values, one) if task_of(head).per_step else values
        return found

    def arguments(self, one: Pass) -> dict[str, Tensor]:
        """The arguments of a model for a pass; copies where `keep_inputs` is set."""
        kept = self.keep_inputs
        return {name: tensor.clone() for name, tensor in one.arguments.items()} if kept else one.arguments


def _part(inputs: Inputs, start: int, stop: int) -> Inputs:
    return {name: given[start:stop] for name, given in inputs.items()}


def _of_steps(values: Tensor, one: Pass) -> Sequences:
    """`[rows, padded steps, labels]` → the values of the real steps, without padding."""
    assert one.host_lengths is not None, "a bundle that tags steps has a sequence"
    if not int(one.host_lengths.max()) <= values.shape[1] <= one.width:
        raise BundleError(
            f"the model returns {values.shape[1]} steps for lists of {one.width}; tagging needs labels for each step"
        )
    return real_steps(values, one)
