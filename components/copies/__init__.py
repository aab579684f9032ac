"""Copies of a group's data: a Job fills a group from another one, with the scripts of the engine."""
