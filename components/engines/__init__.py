"""The engines, one module each. To add an engine, add a module and its record to `ENGINES`."""

from collections.abc import Mapping
from types import MappingProxyType

from components.engines.definition import Engine
from components.engines.elasticsearch import ELASTICSEARCH
from components.engines.glusterfs import GLUSTERFS
from components.engines.influxdb import INFLUXDB
from components.engines.mongodb import MONGODB
from components.engines.mysql import MYSQL
from components.engines.postgresql import POSTGRESQL
from components.engines.rabbitmq import RABBITMQ
from components.engines.redis import REDIS
from components.engines.sqlite import SQLITE

__all__ = ["ENGINES"]

ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        engine.name: engine
        for engine in (ELASTICSEARCH, GLUSTERFS, INFLUXDB, MONGODB, MYSQL, POSTGRESQL, RABBITMQ, REDIS, SQLITE)
    }
)
