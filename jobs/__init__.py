"""One thin file per command: options → one call into the pipeline → exit code."""
