"""``make bench``: what reading headers costs, beside the ways that people use today."""
