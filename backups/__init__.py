"""`make backup`, `make backups` and `make restore`: run, list and restore the backups of a stack by hand.

The store may be out of reach of this machine, so all of them are Jobs in the cluster. The package reads no Secret.
"""
