"""What a wiki makes of a log: the information space and its shards."""
