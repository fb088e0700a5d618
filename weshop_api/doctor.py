"""What works and what does not, on one screen: the key, the way out, the service, its description, the ledger.

Nothing here costs points, creates a run or shows the key. Each examination gives findings and raises nothing that
belongs to the error tree, so that one trouble does not hide the next.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from . import protocol
from .client import KEY_CHECK_TIMEOUTS, check_key
from .credentials import BASE_URL_VARIABLE, Service, find_key
from .errors import AuthenticationError, ForbiddenDestinationError, NoAnswerError, NotSentError, WeShopError
from .http import UPLOAD_FIELD, DownloadSession
from .ledger import Ledger, RunState
from .ledger_records import OPEN_STATES
from .models import Reference, References
from .network import Network
from .seedream import AGENT_NAME, MODELS, WEB_SEARCH_TOOL, SeedreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .credentials import ApiKey

DESCRIPTION_PATH = "/agent/openapi.yaml"
MAX_DESCRIPTION_BYTES = 4_000_000
MOST_RUNS_COUNTED = 1_000_000

# What the library calls, as a description would write it. Without the first three there are no pictures.
_CALLS = {
    "upload": protocol.UPLOAD_PATH,
    "submit": protocol.RUNS_PATH,
    "poll": f"{protocol.RUNS_PATH}/{{id}}",
}
_OTHER_CALLS = {"estimate": protocol.ESTIMATE_PATH, "key check": protocol.KEY_CHECK_PATH.partition("?")[0]}
_WORDS = (AGENT_NAME, *(model.name for model in MODELS), WEB_SEARCH_TOOL, "Idempotency-Key")


class State(str, Enum):
    """How things are."""

    OK = "ok"
    PROBLEM = "PROBLEM"
    """Something keeps runs from being made; the text says what to do."""
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """One line of the screen."""

    state: State
    topic: str
    text: str

    def __str__(self) -> str:
        return f"{self.state.value:<12}{self.topic:<13}{self.text}"


async def examine(
    environ: Mapping[str, str], home: Path, ledger_file: Path, network: Network | None = None
) -> tuple[Finding, ...]:
    """Look at everything; the findings in the order of the screen."""
    network = network or Network()
    try:
        service = Service.from_environment(environ)
    except ForbiddenDestinationError as error:
        unusable = Finding(State.PROBLEM, "service", str(error))
        return (*_own_findings(), unusable, *ledger_findings(ledger_file))
    key, key_finding = key_of(service, environ, home)
    way = (proxy_finding(service, network), certificates_finding(environ, network))
    answer = await answer_finding(service, key)
    description = await description_finding(service, network, is_reachable=answer.state is not State.PROBLEM)
    return (*_own_findings(), key_finding, *way, answer, description, *ledger_findings(ledger_file))


def key_of(service: Service, environ: Mapping[str, str], home: Path) -> tuple[ApiKey | None, Finding]:
    """The key that requests would carry, and where it comes from."""
    try:
        key = find_key(service, environ, home)
    except WeShopError as error:
        return None, Finding(State.PROBLEM, "key", str(error))
    ending = f", ends with {key.last_four}" if key.last_four else ""
    return key, Finding(State.OK, "key", f"from {key.source}{ending}")


def proxy_finding(service: Service, network: Network) -> Finding:
    """Whether requests leave through a proxy; its user name and password are left out."""
    address = service.address
    if not service.is_real:
        return Finding(State.OK, "proxy", "none: a service on this machine is never reached through one")
    proxy = network.proxy_for(address.scheme, address.host)
    if not proxy:
        return Finding(State.OK, "proxy", "none: no HTTPS_PROXY, and the system names none for this service")
    try:
        parts = urlsplit(proxy)
        shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return Finding(State.PROBLEM, "proxy", "is not an address such as http://127.0.0.1:8080; correct HTTPS_PROXY")
    return Finding(State.OK, "proxy", shown)


def certificates_finding(environ: Mapping[str, str], network: Network) -> Finding:
    """Which authorities are trusted."""
    named = {name: environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if environ.get(name)}
    gone = [f"{name} names {place}" for name, place in named.items() if not Path(place).exists()]
    if gone:
        return Finding(
            State.PROBLEM, "certificates", f"{' and '.join(gone)}, which does not exist; correct or unset it"
        )
    try:
        count = network.certificates().cert_store_stats()["x509_ca"]
    except (OSError, ssl.SSLError) as error:
        return Finding(State.PROBLEM, "certificates", f"cannot be loaded: {error}; look at SSL_CERT_FILE")
    source = ", ".join(f"{name}={place}" for name, place in named.items()) or "the system"
    return Finding(State.OK, "certificates", f"{count} authorities, from {source} and certifi")


async def answer_finding(service: Service, key: ApiKey | None) -> Finding:
    """Whether the service answers and accepts the key."""
    where = f"{service.base_url}" + ("" if service.is_real else f" (by {BASE_URL_VARIABLE})")
    if key is None:
        return Finding(State.UNCHECKED, "service", f"{where}: without a key there is nothing to ask it")
    try:
        await check_key(key, service)
    except AuthenticationError as error:
        return Finding(State.PROBLEM, "service", f"{where} answers. {error}")
    except (NotSentError, NoAnswerError) as error:
        return Finding(State.PROBLEM, "service", f"{where} was not reached. {error}")
    except WeShopError as error:
        return Finding(State.UNCHECKED, "service", f"{where} answers, but not whether it accepts the key. {error}")
    return Finding(State.OK, "service", f"{where} answers and accepts the key")


async def description_finding(service: Service, network: Network, *, is_reachable: bool) -> Finding:
    """Whether the service's published description still names what the library relies on."""
    topic = "description"
    if not is_reachable:
        return Finding(State.UNCHECKED, topic, "the service was not reached")
    session = DownloadSession(service, KEY_CHECK_TIMEOUTS, network)
    try:
        answer = await session.fetch(service.base_url + DESCRIPTION_PATH, max_bytes=MAX_DESCRIPTION_BYTES)
    except WeShopError:  # Its sentence would be about a picture.
        text = f"{DESCRIPTION_PATH} of the service could not be fetched; look at the network, proxy and firewall"
        return Finding(State.UNCHECKED, topic, text)
    finally:
        await session.aclose()
    if answer.status != 200:
        return Finding(State.UNCHECKED, topic, f"{DESCRIPTION_PATH} is not handed out (HTTP {answer.status})")
    return judge_description(answer.body.decode("utf-8", "replace"))


def judge_description(text: str) -> Finding:
    """Search an OpenAPI document, as text, for what the library relies on.

    How much the document says is up to the service. So what it does not name is a hint, and a problem only where it
    names some of the calls that every run needs and not the others.
    """
    topic = "description"
    if not re.search(r"(?m)^[\"']?openapi[\"']?[ \t]*:", text) or not re.search(r"(?m)^[\"']?paths[\"']?[ \t]*:", text):
        return Finding(State.UNCHECKED, topic, f"what {DESCRIPTION_PATH} hands out is not an OpenAPI document in YAML")
    missing = [f"{name} ({path})" for name, path in _CALLS.items() if not _names_path(text, path)]
    if len(missing) == len(_CALLS):
        return Finding(State.UNCHECKED, topic, "names none of the calls used here, so it may be about others")
    if missing:
        sentence = f"no longer names {', '.join(missing)}; look for a newer version of this pack"
        return Finding(State.PROBLEM, topic, sentence)
    unnamed = _unnamed(text)
    rest = f"; not named, which it need not be: {', '.join(unnamed)}" if unnamed else ", their fields and all models"
    return Finding(State.OK, topic, f"still names the calls used here: {', '.join(_CALLS)}{rest}")


def _unnamed(text: str) -> tuple[str, ...]:
    """What else the library sends that this document does not name."""
    calls = tuple(f"{name} ({path})" for name, path in _OTHER_CALLS.items() if not _names_path(text, path))
    fields = tuple(field for field in _fields() if not re.search(rf"(?<![\w/-]){field}[\"']?[ \t]*:", text))
    return (*calls, *fields, *(word for word in _WORDS if word not in text))


def _fields() -> tuple[str, ...]:
    """The names in an upload and in the body of a run that uses everything, each once, in their order."""
    everything = SeedreamRequest("prompt", web_search=True, references=References((Reference("https://a.example"),)))
    body = protocol.submit_body(everything, everything.references.urls, "label")
    found = re.findall(r'"(\w+)":', body.decode())
    return tuple(dict.fromkeys((UPLOAD_FIELD, *found)))


def _names_path(text: str, path: str) -> bool:
    # A description may call the id anything, and may or may not repeat what all paths begin with.
    first, _, rest = path.lstrip("/").partition("/")
    rest = re.escape(rest).replace(re.escape("{id}"), r"\{[^{}/\s]+\}")
    return re.search(rf"(?m)^[ \t]*[\"']?((/openapi)?/{first})?/{rest}[\"']?[ \t]*:", text) is not None


def ledger_findings(file: Path) -> tuple[Finding, ...]:
    """What the ledger holds, and whether it can be written; a ledger that is not there is not made."""
    topic = "ledger"
    if not file.exists():
        folder = next(parent for parent in file.parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            return (Finding(State.PROBLEM, topic, f"{file} cannot be made, because {folder} cannot be written to"),)
        return (Finding(State.OK, topic, f"{file}, which the first run makes"),)
    warnings: list[str] = []
    ledger = Ledger(file, warn=warnings.append)
    try:
        runs = ledger.recent_runs(MOST_RUNS_COUNTED)
    finally:
        ledger.close()
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        warnings.append(f"{file} cannot be written to, so no run would be remembered; correct its rights.")
    states = Counter(run.state for run in runs)
    undelivered = sum(run.state is RunState.SUCCESS and not run.delivered for run in runs)
    still_open = sum(states[state] for state in OPEN_STATES)
    text = f"{file}: {_counted(len(runs), 'run')}, {still_open} not ended, {undelivered} finished but not delivered"
    return (
        Finding(State.OK, topic, text),
        *(Finding(State.PROBLEM, topic, warning) for warning in warnings),
    )


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing keeps runs from being made."""
    return all(finding.state is not State.PROBLEM for finding in findings)


def _own_findings() -> tuple[Finding, ...]:
    text = f"Python {sys.version.split()[0]} on {sys.platform}, {Path(__file__).resolve().parent}"
    return (Finding(State.OK, "program", text),)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
