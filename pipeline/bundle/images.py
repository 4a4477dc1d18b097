"""What planning knows of images: the library that decodes them."""

#: Pixels are those of its version.
PACKAGES = ("pillow",)
