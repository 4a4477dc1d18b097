"""The packages that encode text."""

#: Tokens may depend on its version.
PACKAGES = ("tokenizers",)
