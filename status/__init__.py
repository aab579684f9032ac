"""`make status`: the state of every database group of a stack, read from Pulumi's state and from the cluster.

The package reads and changes nothing. It reads names and times of Secrets, never their values.
"""
