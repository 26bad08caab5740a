"""One row for each object of the cohort, cut into partitions; listed once, and stored."""
