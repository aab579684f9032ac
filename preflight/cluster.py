"""The check of the cluster before an update: it only reads, and it reports every failure at once."""

from preflight.cluster_checks import check_existing_objects, check_requirements
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.cluster_models import CLUSTER_LOCATION, ClusterIssue, ClusterReport, ClusterRequirements
from preflight.cluster_observation import read_cluster, read_existing_objects
from preflight.errors import ClusterError

__all__ = ["check_cluster"]


def check_cluster(
    requirements: ClusterRequirements, config: ClusterConfig, timeout_seconds: float, *, is_complete: bool = True
) -> ClusterReport:
    """Check whether the cluster has what a stack needs. An unreachable cluster is the only issue of its report.

    With `is_complete` False, check only that no object of others exists, which the update would overwrite.
    """
    read, check = (read_cluster, check_requirements) if is_complete else (read_existing_objects, check_existing_objects)
    try:
        with create_api_client(config) as connection:
            return check(requirements, read(connection, requirements, timeout_seconds))
    except ClusterError as error:
        return ClusterReport(issues=(ClusterIssue(CLUSTER_LOCATION, str(error)),))
