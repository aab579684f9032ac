"""External servers on which the program provisions databases: one provider and one chain of databases per server.

Only the program uses the administrator's account. The account never reaches the cluster.
"""

import asyncio
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Annotated, Self

import pulumi
from pydantic import AfterValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from components.engines import ENGINES
from components.engines.definition import (
    Account,
    AdministratorConnection,
    Login,
    Provisioner,
    ProvisioningRequest,
    ServerClient,
)
from components.hosts import Host, Hosts
from components.passwords import Password
from components.persisted.names import DATABASE_RECORD_TYPE
from components.persisted.outputs import DatabaseRecordOutputs
from components.spec import NonEmptyStr, Port, SecretText, SpecModel, format_choices
from components.tls import CaBundleFile, TlsMode

__all__ = ["AdministratorSpec", "ExternalServer", "ExternalServerSpec"]

PROVISIONABLE_ENGINES = sorted(name for name, engine in ENGINES.items() if engine.provisioner)


def _validate_provisionable_engine(name: str) -> str:
    if name not in PROVISIONABLE_ENGINES:
        choices = format_choices(PROVISIONABLE_ENGINES)
        raise PydanticCustomError("engine", "unsupported engine{value}; use {choices}", {"choices": choices})
    return name


class AdministratorSpec(SpecModel):
    """The account that creates databases and users on an external server."""

    username: NonEmptyStr
    """User name of the administrator. It need not be a superuser."""
    password: SecretText
    """Password of the administrator. Encrypt it: `pulumi config set --secret --path`."""
    host: Host | None = None
    """Host for the program, if it differs from the applications' host, for example a tunnel. Default: `host`."""
    port: Port | None = None
    """Port for the program. Default: `port`."""


class ExternalServerSpec(SpecModel):
    """An external server on which the program creates a database and a user for each group that names it."""

    engine: Annotated[
        str, AfterValidator(_validate_provisionable_engine), WithJsonSchema({"enum": PROVISIONABLE_ENGINES})
    ]
    """Engine of the server."""
    host: Hosts
    """Host for applications: a host name, an IP address, or a list of IP addresses that all accept writes."""
    port: Port | None = None
    """Port for applications. Default: the engine's port."""
    tls: TlsMode = "verify-full"
    """TLS mode of the program's connection: `disable`, `require` or `verify-full`. Default: `verify-full`."""
    ca_file: CaBundleFile | None = None
    """Path of a PEM file with the CA certificates that sign the server's certificate. Default: the system's CAs."""
    administrator: AdministratorSpec
    """Account that creates databases and users."""

    @model_validator(mode="after")
    def _validate_administrator_username(self) -> Self:
        provisioner = ENGINES[self.engine].provisioner
        forbidden = provisioner.forbidden_username_characters if provisioner else ""
        used = sorted(set(forbidden) & set(self.administrator.username))
        if used:
            raise PydanticCustomError(
                "administrator_username",
                "the administrator's user name contains '{character}', which the {engine} provider does not support;"
                " use another user",
                {"character": used[0], "engine": self.engine},
            )
        return self

    @property
    def service_port(self) -> int:
        """The port that applications connect to."""
        return self.port or ENGINES[self.engine].port or 0

    @property
    def administrator_endpoint(self) -> tuple[str, int]:
        """The host and port that the administrator connects to."""
        return self.administrator.host or self.host[0], self.administrator.port or self.service_port


class DatabaseRecord(pulumi.ComponentResource):
    """Component `database-groups:index:DatabaseRecord`: the record of a database on an external server.

    The record depends on the database: the state gets it after the database, and a destroy deletes it before the
    database. A refresh does not remove it, so the next update can detect a loss.
    """

    def __init__(
        self, name: str, outputs: DatabaseRecordOutputs, database: pulumi.Resource, parent: pulumi.Resource | None
    ) -> None:
        super().__init__(DATABASE_RECORD_TYPE, name, None, pulumi.ResourceOptions(parent=parent, depends_on=[database]))
        self.register_outputs({**outputs})


class ExternalServer:
    """One external server during an update: its Pulumi provider, and the last database that was created on it.

    Resources: the engine's provider, named `<server>`, as soon as a group needs it; per group what the engine's
    provisioner creates, and a `DatabaseRecord`.
    """

    def __init__(self, name: str, spec: ExternalServerSpec, client: ServerClient | None = None) -> None:
        self.spec = spec
        self._client = client
        self._name = name
        self._last_database: list[pulumi.Resource] = []
        self._takes_over: dict[str, Collection[str]] = {}

    def set_takeover(self, name: str, parts: Collection[str]) -> None:
        """Let `provision` take over an existing `database` or `user` into the state. `name` is that of `provision`."""
        self._takes_over[name] = parts

    @cached_property
    def _provider(self) -> pulumi.ProviderResource:
        host, port = self.spec.administrator_endpoint
        administrator = self.spec.administrator
        return self._provisioner.create_provider(
            self._name,
            AdministratorConnection(
                host=host,
                port=port,
                tls=self.spec.tls,
                ca_file=self.spec.ca_file.path if self.spec.ca_file else None,
                username=administrator.username,
                password=pulumi.Output.secret(administrator.password.get_secret_value()),
            ),
        )

    @property
    def _provisioner(self) -> Provisioner:
        provisioner = ENGINES[self.spec.engine].provisioner
        if provisioner is None:
            raise ValueError(f"the program cannot create databases on a server of {self.spec.engine}")
        return provisioner

    def provision(
        self,
        name: str,
        owner: str,
        account: Account,
        password: Password,
        *,
        passwords: Sequence[Password],
        extensions: Sequence[str] = (),
        data_opts: pulumi.ResourceOptions,
        opts: pulumi.ResourceOptions,
    ) -> pulumi.ResourceOptions:
        """Create a database, its accounts and its grants, after the databases that were created before.

        `owner` is the first account. The application uses `account` with `password`, one of `passwords` of all
        accounts. `data_opts` apply to resources that hold data; `opts` apply to all others. Returns the options of a
        Secret that waits until the account can log in.

        Raises ValueError for an account without a user name or a database.
        """
        if account.username is None or account.database is None:
            raise ValueError("an account needs a user name and a database")
        provider = pulumi.ResourceOptions(provider=self._provider)
        request = ProvisioningRequest(
            username=owner,
            database=account.database,
            passwords=passwords,
            administrator=self.spec.administrator.username,
            extensions=extensions,
            client=self._client,
            takes_over=self._takes_over.get(name, ()),
        )
        provisioned = self._provisioner.provision_database(
            name,
            request,
            data_opts=pulumi.ResourceOptions.merge(data_opts, provider),
            opts=pulumi.ResourceOptions.merge(opts, provider),
            depends_on=self._last_database,
        )
        self._last_database = [provisioned.database]
        record: DatabaseRecordOutputs = {
            "externalServer": self._name,
            "database": account.database,
            "username": owner,
        }
        DatabaseRecord(name, record, provisioned.database, opts.parent)
        return pulumi.ResourceOptions(
            depends_on=[provisioned.last_resource],
            hooks=self._create_login_hooks(name, account.username, account.database, password),
        )

    def _create_login_hooks(
        self, name: str, username: str, database: str, password: Password
    ) -> pulumi.ResourceHookBinding | None:
        """Create the hook that proves a login before a Secret changes."""
        client = self._client
        if client is None:
            return None

        async def prove_login(_args: pulumi.ResourceHookArgs) -> None:
            login = Login(username=username, password=str(await password.value.future()), database=database)
            await asyncio.to_thread(client.require_login, login)

        hook = pulumi.ResourceHook(f"{name}-login", prove_login)
        return pulumi.ResourceHookBinding(before_create=[hook], before_update=[hook])
