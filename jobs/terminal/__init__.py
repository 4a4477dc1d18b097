"""What a command asks and shows: option types, logs, progress, tables. Knows nothing of scoring."""
