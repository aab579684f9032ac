"""A valid configuration becomes the arguments of its applications."""
