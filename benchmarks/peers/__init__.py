"""Measure installable libraries for expression recognition that bring their weights inside a package."""
