"""Beyond one machine: a plan of shards, which any number of processes work off."""
