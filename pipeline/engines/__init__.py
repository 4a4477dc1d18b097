"""Other ways to spread the work of a job: shards."""
