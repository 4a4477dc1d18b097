"""Lists folders, opens regular files, names temporary files: the basis of everything on disk."""
