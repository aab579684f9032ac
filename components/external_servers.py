"""External servers on which databases are made, each with its administrator: one provider a server, one chain of databases.

The administrator's account is used here, by the program; it never reaches the cluster.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Self

import pulumi
from pydantic import AfterValidator, WithJsonSchema, model_validator

from components.engines import ENGINES
from components.engines.definition import Account, AdministratorConnection, Provisioner, ProvisioningRequest
from components.hosts import Host, Hosts
from components.spec import NonEmptyStr, Port, SecretText, SpecModel
from components.tls import CaBundleFile, TlsMode

__all__ = ["AdministratorSpec", "ExternalServer", "ExternalServerSpec"]


def _validate_provisionable_engine(name: str) -> str:
    if name not in PROVISIONABLE_ENGINES:
        raise ValueError(
            f"is none of {', '.join(PROVISIONABLE_ENGINES)}, the engines on whose servers databases can be made"
        )
    return name


PROVISIONABLE_ENGINES = sorted(name for name, engine in ENGINES.items() if engine.provisioner)


class AdministratorSpec(SpecModel):
    """Who makes the databases of a server."""

    username: NonEmptyStr
    password: SecretText
    """Encrypted, by `pulumi config set --secret --path`."""
    host: Host | None = None
    """Where the program reaches the server, if that is elsewhere than for applications: a tunnel, a proxy."""
    port: Port | None = None


class ExternalServerSpec(SpecModel):
    """An external server on which each group that names it gets a database and a user."""

    engine: Annotated[
        str, AfterValidator(_validate_provisionable_engine), WithJsonSchema({"enum": PROVISIONABLE_ENGINES})
    ]
    host: Hosts
    """Where applications reach the server: a host name, an IP address, or a list of these."""
    port: Port | None = None
    """The engine's own by default."""
    tls: TlsMode = "verify-full"
    """How the program's own connection is secured."""
    ca_file: CaBundleFile | None = None
    """The authorities that sign the server's certificate. By default those that the machine knows."""
    administrator: AdministratorSpec

    @model_validator(mode="after")
    def _validate_administrator_username(self) -> Self:
        provisioning = ENGINES[self.engine].provisioner
        unsafe = [
            character
            for character in (provisioning.forbidden_username_characters if provisioning else "")
            if character in self.administrator.username
        ]
        if unsafe:
            raise ValueError(
                f"has an administrator with {unsafe[0]!r} in the user name, which the provider for {self.engine} takes for something else"
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


class ExternalServer:
    """One external server during a deployment: its Pulumi provider, and the last database that was made on it.

    Resources: the engine's provider, named `<server>`, once a group needs it; per group what its engine's `provision` makes.
    """

    def __init__(self, name: str, spec: ExternalServerSpec) -> None:
        self.spec = spec
        self._name = name
        self._last: list[pulumi.Resource] = []

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
        provisioning = ENGINES[self.spec.engine].provisioner
        if provisioning is None:
            raise ValueError(f"no databases can be made on a server of {self.spec.engine}")
        return provisioning

    def provision(
        self,
        name: str,
        account: Account,
        password: pulumi.Output[str] | None,
        *,
        extensions: Sequence[str] = (),
        data_opts: pulumi.ResourceOptions,
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Makes a user, its database and its grants, after those that were made before. Raises ValueError for an account that lacks a part."""
        if account.username is None or account.database is None or password is None:
            raise ValueError("an account is made with a user, a database and a password")
        provider = pulumi.ResourceOptions(provider=self._provider)
        request = ProvisioningRequest(
            username=account.username,
            database=account.database,
            password=password,
            administrator=self.spec.administrator.username,
            extensions=extensions,
        )
        database = self._provisioner.provision_database(
            name,
            request,
            data_opts=pulumi.ResourceOptions.merge(data_opts, provider),
            opts=pulumi.ResourceOptions.merge(opts, provider),
            depends_on=self._last,
        )
        self._last = [database]
