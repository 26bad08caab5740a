"""One row for each object of the cohort, cut into partitions; listed once, and stored.

In the order of their use: `planner`, `estimate`, `listing`, `listing_tasks`, `sizing`, `stored`.
"""
