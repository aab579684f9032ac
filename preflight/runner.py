"""The runner of the checks of servers and stores: all in parallel, within one time limit.

A check resolves the host name, connects, detects the engine's protocol and logs in. For an administrator it also checks
the version, the privileges and the existing objects. A check changes nothing on a server. In a store, it writes and
deletes an object.
"""

import queue
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from preflight.errors import AuthenticationRequiredError, ProbeError, TlsNotSupportedError, UnexpectedProtocolError
from preflight.models import Endpoint, Finding
from preflight.network import connect_first, resolve_host
from preflight.probe_context import ProbeContext
from preflight.probes import get_probe
from preflight.probes.provisioning import check_shared_names
from preflight.service_detection import detect_service, is_silent

if sys.platform != "win32":
    import resource

__all__ = ["check", "format_findings", "run_checks", "run_statements"]

MAX_PARALLEL_LOGINS = 4
"""Per server. Its connection limit is for applications."""
THREAD_STACK_BYTES = 512 * 1024
"""The default of 8 MB is too large for 1,000 threads."""
STACK_SIZE_LOCK = threading.Lock()
SPARE_SOCKETS = 256
REPORTING_MARGIN_SECONDS = 0.25
"""Time reserved to report the servers that do not answer."""
CHECK_LOG = "Check the server's log."
NO_TLS_FIX = "{}, or set `tls: disable` if you trust the network."
NO_TLS_IN_URL_FIX = "Enable TLS on the server, or write `http://` in {} if you trust the network."
LISTENER_FIX = "Check on the server which program listens on this port."

EndpointKey = tuple[object, ...]
ResultQueue = queue.SimpleQueue[ProbeContext]
UnexpectedServices = dict[tuple[str, str | None], Finding]
"""Findings by engine and TLS mode. A server is identified once for all accounts."""


def check(endpoints: Sequence[Endpoint], timeout_seconds: float = 10) -> list[Finding]:
    """Check the servers and return the failed checks, without the warnings of `run_checks`."""
    return [finding for finding in run_checks(endpoints, timeout_seconds) if not finding.is_warning]


def run_checks(endpoints: Sequence[Endpoint], timeout_seconds: float = 10) -> list[Finding]:
    """Check the servers and return the failed checks and the warnings, in the order of the endpoints.

    The check takes at most `timeout_seconds`, for any number of servers. Endpoints that differ only in their paths are
    checked once. Threads that hang in a resolver or a driver are abandoned; they do not keep the process from exiting.
    """
    deadline = time.monotonic() + timeout_seconds
    contexts = _group_by_endpoint(endpoints, deadline - REPORTING_MARGIN_SECONDS)
    contexts_by_address: defaultdict[tuple[str, int], list[ProbeContext]] = defaultdict(list)
    for context in contexts.values():
        contexts_by_address[context.endpoint.host, context.endpoint.port].append(context)
    results: ResultQueue = queue.SimpleQueue()
    _raise_socket_limit(len(contexts_by_address))
    with _limit_thread_stack_size():
        for group in contexts_by_address.values():
            threading.Thread(target=_probe_host, args=(group, results), daemon=True).start()
    finished = _wait_for_results(results, len(contexts), deadline)
    for key, context in contexts.items():
        if key not in finished:
            context.add_finding(Finding(f"no answer within {timeout_seconds:g} s", context.timeout_fix))
    check_shared_names(contexts.values())
    return [
        finding
        for endpoint in endpoints
        for finding in _select_findings(endpoint, contexts[_build_endpoint_key(endpoint)])
    ]


def run_statements(endpoint: Endpoint, statements: Sequence[str], timeout_seconds: float) -> list[tuple[Any, ...]]:
    """Run statements with the account of an endpoint, and return the rows of the last one.

    The login takes at most `timeout_seconds`. Raises ProbeError or UnexpectedProtocolError.
    """
    context = ProbeContext(endpoint=endpoint, deadline=time.monotonic() + timeout_seconds)
    context.address = _resolve_and_connect([context])
    return get_probe(endpoint.engine).run_statements(context, statements)


def format_findings(findings: Sequence[Finding]) -> str:
    """Format failed checks, or warnings, as one text, without the level `error:` or `warning:`."""
    groups: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.subject].append(finding)
    return "\n\n".join(_format_group(subject, group) for subject, group in groups.items())


def _format_group(subject: str, findings: Sequence[Finding]) -> str:
    count = len(findings)
    plural = "s" if count != 1 else ""
    is_failure = any(not finding.is_warning for finding in findings)
    header = f"{count} {subject} check{plural} failed:" if is_failure else f"{count} {subject} warning{plural}:"
    return "\n\n".join([header, *map(_format_finding, findings)])


def _format_finding(finding: Finding) -> str:
    fix = finding.fix.replace("\n", "\n         ")
    return (
        f"  {finding.path} ({finding.endpoint})\n"
        f"    check: {finding.check}\n    result: {finding.result}\n    fix: {fix}"
    )


def _build_endpoint_key(endpoint: Endpoint) -> EndpointKey:
    """Return the parts of an endpoint that determine the result of its check."""
    account = tuple(sorted(endpoint.account.items()))
    address = (endpoint.host, endpoint.port, endpoint.tls, endpoint.ca_file)
    return (endpoint.engine, *address, account, endpoint.is_administrator)


def _group_by_endpoint(endpoints: Iterable[Endpoint], deadline: float) -> dict[EndpointKey, ProbeContext]:
    """Create one context for all endpoints with the same key, with the databases of all of them."""
    groups: defaultdict[EndpointKey, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        groups[_build_endpoint_key(endpoint)].append(endpoint)
    contexts = {}
    for key, group in groups.items():
        planned = tuple(planned for endpoint in group for planned in endpoint.planned_databases)
        provisioned = tuple(provisioned for endpoint in group for provisioned in endpoint.provisioned_databases)
        endpoint = replace(group[0], planned_databases=planned, provisioned_databases=provisioned)
        contexts[key] = ProbeContext(endpoint=endpoint, deadline=deadline)
    return contexts


@contextmanager
def _limit_thread_stack_size() -> Iterator[None]:
    """Limit the stack size of the threads that are started in the context. The size belongs to the whole process."""
    with STACK_SIZE_LOCK:
        previous = threading.stack_size(THREAD_STACK_BYTES)
        try:
            yield
        finally:
            threading.stack_size(previous)


def _raise_socket_limit(addresses: int) -> None:
    """Raise the process's limit of open files so that all addresses can be checked at once, if that is allowed."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    required = 2 * addresses + SPARE_SOCKETS
    if resource.RLIM_INFINITY != soft < required:
        limit = required if hard == resource.RLIM_INFINITY else min(required, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _wait_for_results(results: ResultQueue, count: int, deadline: float) -> set[EndpointKey]:
    """Wait until the deadline and return the keys of the checks that finished."""
    finished: set[EndpointKey] = set()
    while len(finished) < count:
        try:
            context = results.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            break
        finished.add(_build_endpoint_key(context.endpoint))
    return finished


def _select_findings(endpoint: Endpoint, context: ProbeContext) -> Iterator[Finding]:
    """Yield the findings that concern one endpoint of a context."""
    paths = {planned.path for planned in endpoint.planned_databases}
    paths |= {provisioned.path for provisioned in endpoint.provisioned_databases}
    for finding in context.findings:
        if not finding.path or finding.path in paths:
            path = finding.path or endpoint.path
            yield replace(finding, path=path, endpoint=endpoint.address, subject=endpoint.subject)


def _probe_host(contexts: list[ProbeContext], results: ResultQueue) -> None:
    """Connect to a server once, then run the probes of all its accounts, a few at a time."""
    try:
        address = _resolve_and_connect(contexts)
    except ProbeError as error:
        for context in contexts:
            context.add_finding(error.finding)
            results.put(context)
        return
    waiting = deque(contexts)
    unexpected_services: UnexpectedServices = {}
    for context in contexts:
        context.address, context.answers = address, contexts[0].answers
    _set_step(
        contexts,
        f"waiting for {len(contexts) - 1} other logins to this server, {MAX_PARALLEL_LOGINS} at a time",
        "The server or this machine is too slow to check all accounts in time. Run the check again, or turn it off "
        "with `preflight: false`.",
    )
    for _ in range(min(MAX_PARALLEL_LOGINS, len(contexts)) - 1):
        threading.Thread(target=_run_worker, args=(waiting, unexpected_services, results), daemon=True).start()
    _run_worker(waiting, unexpected_services, results)


def _set_step(contexts: list[ProbeContext], step: str, timeout_fix: str) -> None:
    for context in contexts:
        context.set_step(step, timeout_fix)


def _resolve_and_connect(contexts: list[ProbeContext]) -> str:
    """Return the IP address that accepts a connection. Raises ProbeError if there is none."""
    host, port = contexts[0].endpoint.host, contexts[0].endpoint.port
    dns_fix = "Check why the DNS servers of this machine do not answer. An IP address needs no DNS."
    _set_step(contexts, f"resolving the host name {host}", dns_fix)
    keys = contexts[0].endpoint.keys
    addresses = resolve_host(host, port, keys)
    hint = get_probe(contexts[0].endpoint.engine).listen_setting_hint

    def on_attempt(address: str) -> None:
        _set_step(contexts, f"connecting to {address}, port {port}", "Check whether a firewall drops the packets.")

    return connect_first(
        addresses, port, contexts[0].remaining_seconds, listen_setting_hint=hint, keys=keys, on_attempt=on_attempt
    )


def _run_worker(waiting: deque[ProbeContext], unexpected_services: UnexpectedServices, results: ResultQueue) -> None:
    """Run probes until none is waiting."""
    while True:
        try:
            context = waiting.popleft()
        except IndexError:
            return
        finding = unexpected_services.get((context.endpoint.engine, context.endpoint.tls))
        if finding:
            context.add_finding(finding)
        else:
            _run_probe(context, unexpected_services)
        results.put(context)


def _run_probe(context: ProbeContext, unexpected_services: UnexpectedServices) -> None:
    """Run the engine's probe and add what it finds to the context."""
    endpoint, probe = context.endpoint, get_probe(context.endpoint.engine)
    request = "logging in" if context.password else f"sending the first {probe.title} request"
    context.set_step(
        f"logging in as {context.username}" if context.username else request,
        f"The server accepts connections but does not answer. {probe.busy_hint}",
    )
    try:
        probe.run(context)
    except AuthenticationRequiredError:
        pass
    except ProbeError as error:
        context.add_finding(error.finding)
    except UnexpectedProtocolError as error:
        context.add_finding(_explain_unexpected_service(context, error, probe.title))
        unexpected_services[endpoint.engine, endpoint.tls] = context.findings[-1]
    except Exception as error:  # an unknown error of one driver must not hide the findings of others
        context.add_finding(Finding(context.redact(f"{type(error).__name__}: {error}"), CHECK_LOG))


def _explain_unexpected_service(context: ProbeContext, error: UnexpectedProtocolError, title: str) -> Finding:
    """Explain what answers: another service than the engine, or the engine without the planned TLS."""
    check, keys = context.step, context.endpoint.keys
    if isinstance(error, TlsNotSupportedError) and error.enable_hint:
        return Finding(str(error), NO_TLS_FIX.format(error.enable_hint))
    context.set_step("identifying the service that answers", LISTENER_FIX)
    name = detect_service(context) or ""
    is_engine = name == title or name.startswith((f"{title} (", f"{title} or "))
    name, message = context.redact(name), context.redact(error)
    address_fix = f"{keys.correction}: this service is not {title}."
    if name and isinstance(error, TlsNotSupportedError) and not keys.tls:
        result, fix = f"{error}; {name} answers", NO_TLS_IN_URL_FIX.format(keys.host)
    elif is_engine and isinstance(error, TlsNotSupportedError):
        result, fix = str(error), NO_TLS_FIX.format("Set `port` to the TLS port of the server")
    elif is_engine:
        result, fix = f"{name} answers, but the session failed: {message}", CHECK_LOG
    elif name:
        result, fix = f"another service answers: {name}", address_fix
    elif is_silent(context):
        result = "the port accepts connections but sends no data"
        fix = (
            "Check whether the server hangs, or whether a proxy or port forwarding answers for a stopped server. "
            f"Otherwise: {keys.correction[0].lower()}{keys.correction[1:]}."
        )
    else:
        result, fix = f"an unknown service answers, not {title}: {message}", address_fix
    return Finding(result, fix, check=check)
