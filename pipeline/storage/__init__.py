"""Folders listed, regular files opened, names of what is not yet published: the ground of everything on disk."""
