"""The check of the cluster before an update: it only reads, and it reports every failure at once."""

from preflight.cluster_checks import check_requirements
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.cluster_models import CLUSTER_LOCATION, ClusterIssue, ClusterReport, ClusterRequirements
from preflight.cluster_observation import read_cluster
from preflight.errors import ClusterError

__all__ = ["check_cluster"]


def check_cluster(requirements: ClusterRequirements, config: ClusterConfig, timeout_seconds: float) -> ClusterReport:
    """Check whether the cluster has what a stack needs. An unreachable cluster is the only issue of its report."""
    try:
        with create_api_client(config) as connection:
            return check_requirements(requirements, read_cluster(connection, requirements, timeout_seconds))
    except ClusterError as error:
        return ClusterReport(issues=(ClusterIssue(CLUSTER_LOCATION, str(error)),))
