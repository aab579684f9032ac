"""Checks of external servers and reads of the cluster, before the first change. Plain Python, without Pulumi.

`check` checks the servers, and `format_findings` formats the findings. The module `workload_reader` reads the cluster.
"""

from preflight.runner import check, format_findings

__all__ = ["check", "format_findings"]
