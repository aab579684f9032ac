"""Checks of external servers and reads of the cluster, before the first change. Plain Python, without Pulumi.

`check` and `run_checks` check the servers, and `format_findings` formats the findings. The module `workload_reader`
reads the cluster. A check changes nothing, except that it writes and deletes an object in a backup store.
`run_statements` runs statements of others on a server during an update.
"""

from preflight.runner import check, format_findings, run_checks, run_statements

__all__ = ["check", "format_findings", "run_checks", "run_statements"]
