"""Harvests under a real Slurm: two nodes on this machine."""
