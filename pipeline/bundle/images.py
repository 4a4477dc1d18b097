"""The packages that decode images."""

#: Pixels depend on its version.
PACKAGES = ("pillow",)
