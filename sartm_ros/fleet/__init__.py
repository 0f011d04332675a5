"""Many recordings: planned, spread over processes or a Ray cluster, summed up in one table."""
