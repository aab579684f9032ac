"""The Pulumi components: applications, their database groups and the servers.

No module here reads a configuration file, the stack's name, the network or a cluster. The caller passes everything as
arguments.
"""
