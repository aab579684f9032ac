"""The check of a backup store, whatever its protocol: list the folder; write, read and delete an object in it."""

import datetime
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Literal

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.models import Finding
from preflight.probe_context import ProbeContext
from preflight.probes.http import HttpResponse
from preflight.probes.implicit_tls import Session, probe_with_tls_modes

__all__ = [
    "OBJECT_NAME",
    "Action",
    "CheckObject",
    "StoreProtocol",
    "check_store",
    "describe_place",
    "explain_status",
    "probe_store",
    "read_clock",
]

Action = Literal["list", "write", "read", "delete"]
OBJECT_NAME = "database-groups-check"
"""Start of the name of the object, or of its folder."""
STEPS: Mapping[Action, str] = MappingProxyType(
    {
        "list": "listing {}",
        "write": "writing an object in {}",
        "read": "reading the object in {}",
        "delete": "deleting the object in {}",
    }
)
TIMEOUT_FIX = "The store accepts connections but does not answer. Check whether it is overloaded, and check its log."
MAX_CLOCK_DIFFERENCE = datetime.timedelta(minutes=5)
CLOCK_FIX = (
    "Correct the clock of this machine (`timedatectl`), or that of the store. The nodes of the cluster need the "
    "right time too: stores reject requests whose time is wrong."
)
FULL_FIX = "Increase the quota or the disk of the store, or delete data that nothing needs."


@dataclass(frozen=True)
class CheckObject:
    """The object that a check writes."""

    content: str

    @property
    def digest(self) -> str:
        """SHA-256 of the content, in hex."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    @property
    def name(self) -> str:
        """A name that no backup has."""
        return f"{OBJECT_NAME}-{self.digest[:16]}"


@dataclass(frozen=True, kw_only=True)
class StoreProtocol:
    """The requests of a kind of store."""

    place: str
    """The folder of the backups, in messages: `production in the bucket backups`."""
    send: Callable[[Action, CheckObject], HttpResponse]
    """Send the request of an action. Raises UnexpectedProtocolError if another service answers."""
    explain: Callable[[Action, HttpResponse], ProbeError]
    """Explain an answer to a failed request."""
    accepts_missing_folder: bool = False
    """Whether the answer "not found" to `list` is no failure."""


def describe_place(container: str, prefix: str | None) -> str:
    """Return the folder of the backups, in messages: `production in the bucket backups`."""
    return f"{prefix} in {container}" if prefix else container


def read_clock() -> datetime.datetime:
    """Return the time of this machine."""
    return datetime.datetime.now(datetime.UTC)


def probe_store(context: ProbeContext, probe_session: Session) -> None:
    """Run a session with the TLS mode of the store. The session calls `check_store`."""
    try:
        probe_with_tls_modes(context, probe_session)
    except UnexpectedProtocolError as error:
        if not context.answers.get(_describe_answer(context)):
            raise
        result = f"the store did not answer: {context.redact(error)}"
        raise ProbeError(result, TIMEOUT_FIX, check=context.step) from None


def check_store(context: ProbeContext, protocol: StoreProtocol) -> None:
    """List the folder, then write, read and delete an object. Add a warning if the clocks differ.

    Raises ProbeError if the store rejects a request, and UnexpectedProtocolError if another service answers.
    """
    item = CheckObject(secrets.token_hex(32))
    response = _run_action(context, protocol, "list", item)
    if difference := _measure_clock_difference(response):
        context.add_finding(
            Finding(_describe_clocks(difference), CLOCK_FIX, check="comparing the clocks", is_warning=True)
        )
    _run_action(context, protocol, "write", item)
    try:
        if _run_action(context, protocol, "read", item).body != item.content:
            context.add_finding(Finding("the store returned another content than what was written", TIMEOUT_FIX))
    except ProbeError as error:
        context.add_finding(error.finding)
    _run_action(context, protocol, "delete", item)


def explain_status(status: int, reason: str) -> ProbeError:
    """Explain a status for which a protocol has no explanation of its own. `reason` is the store's, without secrets."""
    if status == HTTPStatus.INSUFFICIENT_STORAGE:
        return ProbeError(f"the store is full: {reason}", FULL_FIX)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProbeError(f"the store reports an internal error: {reason}", "Check the store and its log. Run again.")
    return ProbeError(f"the store rejected the request: {reason}", "Check the keys of the store in the stack file.")


def _describe_answer(context: ProbeContext) -> str:
    """Return the name of the answer that proves the store's protocol."""
    return f"is {context.endpoint.engine}"


def _run_action(context: ProbeContext, protocol: StoreProtocol, action: Action, item: CheckObject) -> HttpResponse:
    context.set_step(STEPS[action].format(protocol.place), TIMEOUT_FIX)
    response = protocol.send(action, item)
    context.answers[_describe_answer(context)] = True
    is_success = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
    is_missing = action == "list" and response.status == HTTPStatus.NOT_FOUND
    if is_success or (is_missing and protocol.accepts_missing_folder):
        return response
    error = protocol.explain(action, response)
    if action == "list" and (difference := _measure_clock_difference(response)):
        result = f"{error.finding.result}; {_describe_clocks(difference)}"
        error = ProbeError(result, CLOCK_FIX)
    raise ProbeError(error.finding.result, error.finding.fix, check=error.finding.check or context.step)


def _measure_clock_difference(response: HttpResponse) -> datetime.timedelta | None:
    """Return the store's time minus that of this machine. None if the difference is small or not known."""
    try:
        difference = parsedate_to_datetime(response.headers["date"]) - read_clock()
    except (KeyError, TypeError, ValueError):
        return None
    return difference if abs(difference) > MAX_CLOCK_DIFFERENCE else None


def _describe_clocks(difference: datetime.timedelta) -> str:
    hours, minutes = divmod(round(abs(difference).total_seconds() / 60), 60)
    text = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"the store's clock is {text} {'ahead of' if difference > datetime.timedelta() else 'behind'} this machine's"
