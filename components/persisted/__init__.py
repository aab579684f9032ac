"""Everything that outlives an update: names, labels and annotations, and the outputs in Pulumi's state.

Users, clusters and stored states hold these values from release 0.1.0 on. A change here needs a migration, and
`tests/persisted/` keeps states that an earlier release wrote: every later release must update them in place.
"""
