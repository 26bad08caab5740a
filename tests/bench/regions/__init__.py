"""Measures reading a region of a slide, and its metadata, in the ways people do it today."""
