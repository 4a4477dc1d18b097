"""Blocks of rows → scored rows and rejects: the line of stages, and the Scorer."""
