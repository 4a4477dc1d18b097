"""What commands share on the terminal: flags, job files, logs, progress, signals, tables. Independent of scoring."""
