"""The names of an architecture's tensors, and the prefix under which a file has them: `module.` of DataParallel,
`_orig_mod.` of torch.compile, the attribute of a LightningModule. Independent of files.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


class Shaped(Protocol):
    """Anything with the shape of a tensor."""

    @property
    def shape(self) -> Sequence[int]:
        """The number of elements in each dimension."""


class Architecture:
    """The tensors that a module needs. A tensor that has several names, as tied weights do, is needed under one."""

    def __init__(self, model: nn.Module) -> None:
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        self._first: dict[str, str] = {}
        first: dict[int, str] = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor):
                self._shapes[name] = None if is_lazy(tensor) else tuple(tensor.shape)
                self._first[name] = first.setdefault(id(tensor), name)

    def prefixes(self, found: Mapping[str, Shaped], *, complete: bool) -> list[str]:
        """The prefixes under which these tensors have all names of the module (the right shapes come first, and alone
        if there are any); or else some of them, the most first."""
        under, fits = self._under(found)
        number = len(set(self._first.values()))
        if complete:
            whole = [prefix for prefix, names in under.items() if len(names) == number]
            return [prefix for prefix in whole if fits[prefix]] or whole
        return sorted(under, key=lambda prefix: (-len(under[prefix]), len(prefix)))

    def names_in(self, found: Mapping[str, Shaped]) -> int:
        """The largest number of the module's names that these tensors have under one prefix."""
        return max((len(names) for names in self._under(found)[0].values()), default=0)

    def _under(self, found: Mapping[str, Shaped]) -> tuple[dict[str, set[str]], dict[str, bool]]:
        """By prefix, the names that are found, and whether all have the right shape."""
        under: dict[str, set[str]] = defaultdict(set)
        fits: dict[str, bool] = defaultdict(lambda: True)
        for name, tensor in found.items():
            parts = name.split(".")
            for at in range(len(parts)):
                needed = ".".join(parts[at:])
                if needed in self._first:
                    prefix = name.removesuffix(needed)
                    under[prefix].add(self._first[needed])
                    fits[prefix] &= self._shapes[needed] in (None, tuple(tensor.shape))
        return under, fits

    def completed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, with those of tied weights under each of their names."""
        by_first = {self._first[name]: tensor for name, tensor in tensors.items() if name in self._first}
        missing = {name: by_first[one] for name, one in self._first.items() if name not in tensors and one in by_first}
        return {**tensors, **missing}
