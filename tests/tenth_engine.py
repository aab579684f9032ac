"""A made-up tenth engine: what `components/engines/tenth.py` and the record in `tests/engine_contract.py` would hold.

`BARE` is the smallest engine with a server: no volume, settings, init script, image, password or probe.
"""

from components.connection import build_uri
from components.engines.definition import Account, Engine, ExistingAccount, ServerRuntime, Variant
from components.engines.settings_file import SettingsFile, render_assignments
from components.persisted.names import database_account_name
from tests.engine_contract import COMMON_KEYS, EngineContract, SettingsContract
from tests.settings_readers import read_assignments

START = """\
#!/bin/sh
set -eu
unset APPLICATION_PASSWORD
exec tenthd --settings=/etc/database-groups/settings --user="$APPLICATION_USERNAME" --space="$APPLICATION_VHOST"
"""
READY = """\
#!/bin/sh
set -eu
TENTH_PASSWORD=$APPLICATION_PASSWORD exec tenthctl --host="$POD_IP" ping
"""


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=START,
        readiness_script=READY,
        data_path="/data",
        scratch_dirs=("/tmp",),
        min_memory="64Mi",
        runs_init_script=True,
    )


TENTH = Engine(
    name="tenth",
    port=7010,
    variants=(
        Variant(
            name="tenth",
            image="docker.io/library/tenth",
            supported_series=("1", "2"),
            default_version="2",
            run_as_user=70,
        ),
    ),
    build_uri=lambda connection: build_uri("tenth", connection, connection.engine_keys["vhost"]),
    build_account=lambda application, group: Account(
        username=database_account_name(application, group),
        engine_keys={"vhost": database_account_name(application, group)},
    ),
    build_runtime=_build_runtime,
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=":", true="1", false="0"),
        reserved_names=frozenset({"listen"}),
    ),
    max_username_length=12,
    existing_account=ExistingAccount(
        required=("username", "password"), optional=("vhost",), defaults={"vhost": "default"}
    ),
)
TENTH_CONTRACT = EngineContract(
    secret_keys=COMMON_KEYS | {"username", "password", "vhost"},
    uri="tenth://shop_main:generated@service:7010/shop_main",
    port=7010,
    variants=("tenth",),
    max_username_length=12,
    data_path="/data",
    supports_init_script=True,
    has_probe=False,
    settings=SettingsContract(
        read=lambda text: read_assignments(text, ":"), booleans=("1", "0"), reserved={"listen"}, trims_spaces=True
    ),
)

BARE = Engine(
    name="tenth",
    port=7010,
    variants=(Variant(name="tenth", image=None, supported_series=("1", "2"), default_version="2", run_as_user=70),),
    build_uri=lambda connection: build_uri("tenth", connection),
    build_account=lambda _application, _group: Account(),
    build_runtime=lambda _variant, _version: ServerRuntime(
        start_script="#!/bin/sh\nset -eu\nexec tenthd\n",
        readiness_script='#!/bin/sh\nset -eu\nexec tenthctl --host="$POD_IP" ping\n',
        scratch_dirs=("/tmp",),
        min_memory="64Mi",
    ),
    credential_key=None,
)
BARE_CONTRACT = EngineContract(
    secret_keys=COMMON_KEYS, uri="tenth://service:7010", port=7010, variants=("tenth",), has_probe=False
)
