"""Whether external database servers can be used as a stack file says, found out before anything is made. Plain Python: no Pulumi.

`check` speaks to all servers at once and ends in time; `report` tells people what it found. What is tried, in this order: the name, the
connection, whether what answers speaks the engine's protocol, the login, and for administrators rights, version and what is there
already. Nothing is changed on any server.
"""

import queue
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from preflight.answers import silent, speaker
from preflight.attempt import Attempt, NoTls, Stranger, Trouble
from preflight.endpoint import Endpoint, Failure
from preflight.place import reached, resolved
from preflight.probes import probe_of

if sys.platform != "win32":
    import resource

__all__ = ["check", "report"]

LOGINS_AT_ONCE = 4
"""To one server, whose limit of connections is for those who work with it."""
STACK_BYTES = 512 * 1024
"""A thread's; the default, 8 MB, is much for a thousand that wait."""
SPARE_SOCKETS = 256
TELLING_SECONDS = 0.25
"""Kept of the time, for those who run into the limit to say where."""

Done = queue.SimpleQueue[Attempt]


def check(endpoints: Sequence[Endpoint], seconds: float = 10) -> list[Failure]:
    """What is wrong with servers, in their order. Takes at most `seconds`, however many there are and whatever they do.

    Endpoints that are alike but for their paths are asked once. Threads that hang in a resolver or a driver are left behind: they keep
    no result and no exit waiting.
    """
    deadline = time.monotonic() + seconds
    attempts = _attempts(endpoints, deadline - TELLING_SECONDS)
    places: defaultdict[tuple[str, int], list[Attempt]] = defaultdict(list)
    for attempt in attempts.values():
        places[attempt.endpoint.host, attempt.endpoint.port].append(attempt)
    done: Done = queue.SimpleQueue()
    _enough_sockets(len(places))
    with _small_stacks():
        for there in places.values():
            threading.Thread(target=_visit, args=(there, done), daemon=True).start()
    answered = _answered(done, len(attempts), deadline)
    return [
        failure
        for endpoint in endpoints
        for failure in _failures(endpoint, attempts[_identity(endpoint)], answered=_identity(endpoint) in answered, seconds=seconds)
    ]


def report(failures: Sequence[Failure]) -> str:
    """The failures in one text for people."""
    many = len(failures) != 1
    return "\n\n".join([f"{len(failures)} failure{'s' if many else ''} of external servers:", *map(_paragraph, failures)])


def _paragraph(failure: Failure) -> str:
    remedy = "\n".join(f"    {line}" for line in failure.remedy.splitlines())
    return f"  {failure.path} ({failure.endpoint})\n    tried: {failure.tried}\n    found: {failure.found}\n{remedy}"


def _identity(endpoint: Endpoint) -> tuple[object, ...]:
    """What endpoints have in common that are asked once."""
    account = tuple(sorted(endpoint.account.items()))
    return (endpoint.engine, endpoint.host, endpoint.port, endpoint.tls, endpoint.ca, account, endpoint.administrator)


def _attempts(endpoints: Iterable[Endpoint], deadline: float) -> dict[tuple[object, ...], Attempt]:
    """One attempt for all endpoints that are alike, with whatever is wanted of any of them."""
    alike: defaultdict[tuple[object, ...], list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        alike[_identity(endpoint)].append(endpoint)
    return {
        identity: Attempt(endpoint=replace(found[0], wanted=tuple(wanted for endpoint in found for wanted in endpoint.wanted)), deadline=deadline)
        for identity, found in alike.items()
    }


@contextmanager
def _small_stacks() -> Iterator[None]:
    """Threads that are started in between have small stacks."""
    before = threading.stack_size(STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(before)


def _enough_sockets(places: int) -> None:
    """Lets the process have as many sockets as it takes to wait for all places at once, where it may."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * places + SPARE_SOCKETS
    if resource.RLIM_INFINITY != soft < needed:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard))


def _answered(done: Done, count: int, deadline: float) -> set[tuple[object, ...]]:
    """The identities of those that come to an end in time."""
    answered: set[tuple[object, ...]] = set()
    while len(answered) < count:
        try:
            attempt = done.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            break
        answered.add(_identity(attempt.endpoint))
    return answered


def _failures(endpoint: Endpoint, attempt: Attempt, *, answered: bool, seconds: float) -> Iterator[Failure]:
    """What an attempt says of one of its endpoints."""
    troubles = list(attempt.troubles)
    if not answered:
        troubles.append(Trouble(f"no answer within {seconds:g} s", attempt.advice, tried=attempt.tried))
    wanted = {wanted.path for wanted in endpoint.wanted}
    for trouble in troubles:
        if trouble.path is None or trouble.path in wanted:
            path = trouble.path or endpoint.path
            yield Failure(path=path, endpoint=endpoint.address, tried=trouble.tried, found=trouble.found, remedy=trouble.remedy)


def _visit(attempts: list[Attempt], done: Done) -> None:
    """Goes to a place once, and from there on with all that are to be tried there, a few at a time."""
    first = attempts[0]
    try:
        address = _way(attempts)
    except Trouble as trouble:
        trouble.tried = trouble.tried or first.tried
        for attempt in attempts:
            attempt.troubles.append(trouble)
            done.put(attempt)
        return
    waiting = deque(attempts)
    strangers: dict[tuple[str, str | None], Trouble] = {}
    for attempt in attempts:
        attempt.address = address
        attempt.trying(
            f"waiting for {len(attempts) - 1} other logins to this server, {LOGINS_AT_ONCE} at a time",
            "Server or machine are too busy to try so many accounts in the time: run it again, or leave the check out with `preflight: none`.",
        )
    for _ in range(min(LOGINS_AT_ONCE, len(attempts)) - 1):
        threading.Thread(target=_work, args=(waiting, strangers, done), daemon=True).start()
    _work(waiting, strangers, done)


def _way(attempts: list[Attempt]) -> str:
    """The address of a place that takes connections."""
    endpoint, left = attempts[0].endpoint, attempts[0].left

    def trying(what: str, advice: str) -> None:
        for attempt in attempts:
            attempt.trying(what, advice)

    trying(f"looking up the name {endpoint.host}", "See why the name servers of this machine do not answer; an IP address needs none.")
    addresses = resolved(endpoint.host, endpoint.port)
    advice = "See whether a firewall in between drops the packets."
    listening = probe_of(endpoint.engine).listening
    return reached(addresses, endpoint.port, left, listening, lambda address: trying(f"connecting to {address}, port {endpoint.port}", advice))


def _work(waiting: deque[Attempt], strangers: dict[tuple[str, str | None], Trouble], done: Done) -> None:
    """Tries what waits, until nothing does. A stranger is asked for its name once."""
    while True:
        try:
            attempt = waiting.popleft()
        except IndexError:
            return
        key = (attempt.endpoint.engine, attempt.endpoint.tls)
        if key in strangers:
            attempt.troubles.append(strangers[key])
        else:
            _try(attempt, strangers)
        done.put(attempt)


def _try(attempt: Attempt, strangers: dict[tuple[str, str | None], Trouble]) -> None:
    """Fills in what is wrong with an endpoint."""
    found: list[Trouble] = []
    probe = probe_of(attempt.endpoint.engine)
    attempt.trying(f"speaking to {probe.title}", "See what the server is busy with, and what stands in its log.")
    try:
        for trouble in probe.troubles(attempt):
            trouble.tried = trouble.tried or attempt.tried
            found.append(trouble)
    except Trouble as trouble:
        trouble.tried = trouble.tried or attempt.tried
        found.append(trouble)
    except Stranger as stranger:
        found.append(_stranger(attempt, stranger, probe.title))
        strangers[attempt.endpoint.engine, attempt.endpoint.tls] = found[-1]
    except Exception as error:  # whatever a driver may raise: the others are still to be told of
        found.append(Trouble(attempt.quoted(f"{type(error).__name__}: {error}"), "See what stands in the server's log.", tried=attempt.tried))
    attempt.troubles = found


def _stranger(attempt: Attempt, stranger: Stranger, title: str) -> Trouble:
    """What answers in the place of a server."""
    tried = attempt.tried
    attempt.trying(f"finding out what answers in the place of {title}", "See on the server what listens on this port.")
    name = speaker(attempt)
    where = f"Correct host and port in the stack file: this is not {title}."
    itself = name == title or (name or "").startswith(f"{title} (")
    if itself and isinstance(stranger, NoTls):
        return Trouble(
            "the server has no TLS on this port", "Name the port on which it has, or write `tls: disable` where the network may be trusted.", tried=tried
        )
    if itself:
        return Trouble(f"{name} answers, and does not go on: {attempt.quoted(stranger)}", "See what stands in the server's log.", tried=tried)
    if name:
        return Trouble(f"{name} answers", where, tried=tried)
    if silent(attempt):
        return Trouble(
            "something takes connections and says nothing at all",
            f"The server hangs, or a proxy or port forwarding answers for one that is not there. Look at it on its own machine, or correct "
            f"host and port: {title} speaks.",
            tried=tried,
        )
    return Trouble(f"something answers that is not {title}: {attempt.quoted(stranger)}", where, tried=tried)
