"""What is promised of each engine, by its name: the tables that the tests of engines, groups and documents share."""

COMMON = {"type", "provider", "host", "port", "uri"}
KEYS = {
    "mysql": COMMON | {"username", "password", "database"},
    "postgresql": COMMON | {"username", "password", "database"},
    "mongodb": COMMON | {"username", "password", "database"},
    "redis": COMMON | {"password", "database"},
    "elasticsearch": COMMON | {"username", "password"},
    "rabbitmq": COMMON | {"username", "password", "vhost"},
    "influxdb": COMMON | {"token", "org", "bucket"},
    "glusterfs": COMMON | {"volume"},
    "sqlite": {"type", "provider", "uri", "path"},
}
"""The keys of the connection Secret of a group whose account the program makes. No other is there."""
URIS = {
    "mysql": "mysql://shop_main:word@service:3306/shop_main",
    "postgresql": "postgresql://shop_main:word@service:5432/shop_main",
    "mongodb": "mongodb://shop_main:word@service:27017/shop_main?authSource=shop_main",
    "redis": "redis://:word@service:6379/0",
    "elasticsearch": "http://shop_main:word@service:9200",
    "rabbitmq": "amqp://shop_main:word@service:5672/shop_main",
    "influxdb": "http://service:8086",
    "glusterfs": "glusterfs://service/shop_main",
    "sqlite": "sqlite:////var/lib/sqlite/main/shop_main.db",
}
"""The URI of the group `main` of the application `shop`, by the Service `service` and with the password `word`."""
PORTS = {
    "mysql": 3306,
    "postgresql": 5432,
    "mongodb": 27017,
    "redis": 6379,
    "elasticsearch": 9200,
    "rabbitmq": 5672,
    "influxdb": 8086,
    "glusterfs": 24007,
    "sqlite": None,
}
VARIANTS = {
    "mysql": ["mysql", "percona"],
    "postgresql": ["postgresql"],
    "mongodb": ["mongodb"],
    "redis": ["redis", "valkey"],
    "elasticsearch": ["elasticsearch"],
    "rabbitmq": ["rabbitmq"],
    "influxdb": ["influxdb"],
    "glusterfs": ["glusterfs"],
    "sqlite": ["sqlite"],
}
LIMITS = {
    "mysql": (32, 64),
    "postgresql": (63, 63),
    "mongodb": (None, 63),
    "redis": (None, None),
    "elasticsearch": (None, None),
    "rabbitmq": (None, None),
    "influxdb": (None, None),
    "glusterfs": (None, None),
    "sqlite": (None, None),
}
"""How many characters the name of a user and of a database may have."""
RELATIONAL = {"mysql", "postgresql", "sqlite"}
"""Engines of which a group can be the application's DATABASE_URL."""
ROOT = {"glusterfs"}
"""Engines whose server runs as root, outside Pod Security `restricted`."""

TABLES = (KEYS, URIS, PORTS, VARIANTS, LIMITS)


def parts(keys: set[str]) -> set[str]:
    """The parts of variables that are told of keys."""
    return {{"host": "ADDRESS", "uri": "URL"}.get(key, key.upper()) for key in keys - {"type", "provider"}}
