"""The engines that are spoken to, one module each, and the one table of them. A module, and with it its driver, is imported when it is needed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from preflight.answers import speaker
from preflight.attempt import Attempt, Trouble

__all__ = ["PROBES", "Probe", "probe_of"]

Troubles = Callable[[Attempt], Iterator[Trouble]]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How the servers of an engine are spoken to."""

    title: str
    """The engine's name as it is written."""
    listening: str
    """What in its configuration lets a server take connections from other machines."""
    troubles: Troubles
    """Yields what is wrong. Raises Trouble where nothing more can be tried, Stranger where something else answers."""


def _elasticsearch(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.elasticsearch import troubles

    return troubles(attempt)


def _influxdb(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.influxdb import troubles

    return troubles(attempt)


def _mongodb(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.mongodb import troubles

    return troubles(attempt)


def _mysql(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.mysql import troubles

    return troubles(attempt)


def _postgresql(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.postgresql import troubles

    return troubles(attempt)


def _rabbitmq(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.rabbitmq import troubles

    return troubles(attempt)


def _redis(attempt: Attempt) -> Iterator[Trouble]:
    from preflight.probes.redis import troubles

    return troubles(attempt)


def _unspoken(attempt: Attempt) -> Iterator[Trouble]:
    """For engines whose protocol is not spoken here: something takes connections, and it is nothing else that says its name."""
    attempt.trying(f"finding out what answers on port {attempt.endpoint.port}", "See on the server what listens there.")
    name = speaker(attempt)
    if name:
        yield Trouble(f"{name} answers", "Correct host and port in the stack file.")


PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "elasticsearch": Probe(title="Elasticsearch", listening="`network.host` in elasticsearch.yml", troubles=_elasticsearch),
        "glusterfs": Probe(title="GlusterFS", listening="glusterd and the volume must be started (`gluster volume status`)", troubles=_unspoken),
        "influxdb": Probe(title="InfluxDB", listening="`http-bind-address` in its configuration, :8086 for all addresses", troubles=_influxdb),
        "mongodb": Probe(title="MongoDB", listening="`net.bindIp` in mongod.conf", troubles=_mongodb),
        "mysql": Probe(
            title="MySQL", listening="`bind-address` in my.cnf, 0.0.0.0 or * for all addresses, and no `skip-networking`; then restart it", troubles=_mysql
        ),
        "postgresql": Probe(
            title="PostgreSQL", listening="`listen_addresses` in postgresql.conf, '*' for all addresses; then restart it", troubles=_postgresql
        ),
        "rabbitmq": Probe(title="RabbitMQ", listening="`listeners.tcp.default` in rabbitmq.conf", troubles=_rabbitmq),
        "redis": Probe(title="Redis", listening="`bind` in redis.conf, and a password, without which `protected-mode` refuses other machines", troubles=_redis),
    }
)
UNKNOWN = Probe(title="the server", listening="the address that it binds to in its configuration", troubles=_unspoken)


def probe_of(engine: str) -> Probe:
    """How an engine's servers are spoken to; for one that is not known, whether anything takes connections."""
    return PROBES.get(engine, UNKNOWN)
