"""The tables of the engines and the backup stores that can be checked.

Each engine and each kind of store has a module, which is imported on its first use.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from preflight.errors import ProbeError
from preflight.probe_context import ProbeContext
from preflight.service_detection import detect_service

__all__ = ["PROBES", "STORE_PROBES", "Probe", "get_probe", "load_shared_packages"]

Rows = list[tuple[Any, ...]]


def _identify_service(context: ProbeContext) -> None:
    """Check a server whose protocol has no probe: only that no known service answers instead."""
    port = context.endpoint.port
    context.set_step(
        f"identifying the service on port {port}", "Check on the server which program listens on this port."
    )
    name = detect_service(context)
    if name:
        result = f"another service answers: {context.redact(name)}"
        raise ProbeError(result, "Correct `host` and `port` in the stack file.")


def _reject_statements(context: ProbeContext, _statements: Sequence[str]) -> Rows:
    raise ProbeError(f"the program runs no statements on {context.endpoint.engine}", "Report this error.")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How to check the servers of an engine."""

    title: str
    """Name of the engine in messages."""
    listen_setting_hint: str
    """The server's setting for the address that it listens on."""
    busy_hint: str = "Check whether it has started, and check its log."
    """What to check on a server that does not answer."""
    run: Callable[[ProbeContext], None] = _identify_service
    """Check the server with the account of the context.

    The function adds findings to the context. It raises ProbeError if it cannot continue, AuthenticationRequiredError
    if the server requires an account and the context has none, and UnexpectedProtocolError if another service answers.
    Default: only identify the service.
    """

    run_statements: Callable[[ProbeContext, Sequence[str]], Rows] = _reject_statements
    """Run statements with the account of the context, and return the rows of the last one. Raises ProbeError."""

    @property
    def speaks_protocol(self) -> bool:
        """Whether the probe speaks the engine's protocol."""
        return self.run is not _identify_service


def _run_elasticsearch(context: ProbeContext) -> None:
    from preflight.probes.elasticsearch import probe

    probe(context)


def _run_influxdb(context: ProbeContext) -> None:
    from preflight.probes.influxdb import probe

    probe(context)


def _run_mongodb(context: ProbeContext) -> None:
    from preflight.probes.mongodb import probe

    probe(context)


def _run_mysql(context: ProbeContext) -> None:
    from preflight.probes.mysql import probe

    probe(context)


def _run_postgresql(context: ProbeContext) -> None:
    from preflight.probes.postgresql import probe

    probe(context)


def _run_mysql_statements(context: ProbeContext, statements: Sequence[str]) -> Rows:
    from preflight.probes.mysql import run_statements

    return run_statements(context, statements)


def _run_postgresql_statements(context: ProbeContext, statements: Sequence[str]) -> Rows:
    from preflight.probes.postgresql import run_statements

    return run_statements(context, statements)


def _run_rabbitmq(context: ProbeContext) -> None:
    from preflight.probes.rabbitmq import probe

    probe(context)


def _run_redis(context: ProbeContext) -> None:
    from preflight.probes.redis import probe

    probe(context)


def _run_azure(context: ProbeContext) -> None:
    from preflight.probes.azure import probe

    probe(context)


def _run_google(context: ProbeContext) -> None:
    from preflight.probes.google import probe

    probe(context)


def _run_rest(context: ProbeContext) -> None:
    from preflight.probes.rest import probe

    probe(context)


def _run_s3(context: ProbeContext) -> None:
    from preflight.probes.s3 import probe

    probe(context)


PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "elasticsearch": Probe(
            title="Elasticsearch", listen_setting_hint="`network.host` in elasticsearch.yml", run=_run_elasticsearch
        ),
        "glusterfs": Probe(
            title="GlusterFS", listen_setting_hint="start glusterd and the volume (`gluster volume status`)"
        ),
        "influxdb": Probe(
            title="InfluxDB",
            listen_setting_hint="`http-bind-address: :8086` in its configuration, for all addresses",
            run=_run_influxdb,
        ),
        "mongodb": Probe(
            title="MongoDB",
            listen_setting_hint="`net.bindIp` in mongod.conf",
            busy_hint="Check its running queries (`db.currentOp()`), and check its log.",
            run=_run_mongodb,
        ),
        "mysql": Probe(
            title="MySQL",
            listen_setting_hint="`bind-address` in my.cnf (0.0.0.0 or * for all addresses) without `skip-networking`, "
            "then restart it",
            busy_hint="Check its running queries (`SHOW PROCESSLIST`), and try `skip-name-resolve`.",
            run=_run_mysql,
            run_statements=_run_mysql_statements,
        ),
        "postgresql": Probe(
            title="PostgreSQL",
            listen_setting_hint="`listen_addresses` in postgresql.conf ('*' for all addresses), then restart it",
            busy_hint="Check its running queries (`pg_stat_activity`), and check its log.",
            run=_run_postgresql,
            run_statements=_run_postgresql_statements,
        ),
        "rabbitmq": Probe(
            title="RabbitMQ",
            listen_setting_hint="`listeners.tcp.default` in rabbitmq.conf",
            busy_hint="Check whether it has started, and check its alarms (`rabbitmq-diagnostics alarms`).",
            run=_run_rabbitmq,
        ),
        "redis": Probe(
            title="Redis",
            listen_setting_hint="`bind` in redis.conf, and a password, because `protected-mode` rejects other machines "
            "without one",
            busy_hint="Check whether a script blocks it (`SLOWLOG GET`).",
            run=_run_redis,
        ),
    }
)
STORE_PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "azure": Probe(title="Azure Blob Storage", listen_setting_hint="", run=_run_azure),
        "google": Probe(title="Google Cloud Storage", listen_setting_hint="", run=_run_google),
        "rest": Probe(title="rest-server", listen_setting_hint="`--listen :8000`, for all addresses", run=_run_rest),
        "s3": Probe(title="S3", listen_setting_hint="the listen address in its configuration", run=_run_s3),
    }
)
"""The kinds of backup stores that this machine can check."""
FALLBACK_PROBE = Probe(title="the engine", listen_setting_hint="the listen address in its configuration")


def load_shared_packages() -> None:
    """Import what the check of the cluster and a probe import. In two threads at once, the import can fail."""
    import requests  # noqa: F401


def get_probe(engine: str) -> Probe:
    """Return the probe of an engine or a kind of store. Without one, return one that only identifies the service."""
    return PROBES.get(engine) or STORE_PROBES.get(engine, FALLBACK_PROBE)
