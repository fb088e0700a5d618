"""What the doctor says about keys, ways out, services, descriptions and ledgers, good ones and bad ones."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulator import Emulator, Fault
from emulator.openapi import describe
from weshop_api import doctor
from weshop_api.credentials import Service
from weshop_api.doctor import Finding, State
from weshop_api.network import Network

from .shops import Shops, loaded, pro, run

ROOT = Path(__file__).resolve().parents[2]
KEY = "test-key-not-real-1234"
REAL = Service()
DESCRIPTION = """\
openapi: 3.1.0
paths:
  /agent/assets/images:
    post: {}
  "/openapi/agent/runs":
    post: {}
  '/agent/runs/{runId}':
    get: {}
"""


def doctor_in_a_terminal(folder: Path, base_url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weshop_api", "--folder", str(folder), "doctor"]
    environment = {**os.environ, "WESHOP_BASE_URL": base_url}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def examined(emulator_url: str, folder: Path) -> dict[str, Finding]:
    found: list[Finding] = []

    async def examine() -> None:
        found.extend(await doctor.examine({"WESHOP_BASE_URL": emulator_url}, folder, folder / "ledger.sqlite3"))

    run(examine)
    return {finding.topic: finding for finding in found}


def test_where_all_is_well_the_screen_says_so_line_by_line(emulator: Emulator, tmp_path: Path) -> None:
    ended = doctor_in_a_terminal(tmp_path, emulator.base_url)

    assert ended.returncode == 0
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert [line[12:25].strip() for line in lines] == [
        *("program", "key", "proxy", "certificates", "service", "description", "ledger")
    ]
    assert {line[:12].strip() for line in lines} == {"ok"}


def test_looking_costs_nothing(emulator: Emulator, tmp_path: Path) -> None:
    examined(emulator.base_url, tmp_path)

    assert emulator.runs == ()
    assert [(request.method, request.path) for request in emulator.requests] == [
        ("GET", "/openapi/v1/agent/info?agentName=seedream&agentVersion=v1.0"),
        ("GET", "/openapi/agent/openapi.yaml"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_refuses_the_key_is_a_problem_with_the_way_out(emulator: Emulator, tmp_path: Path) -> None:
    emulator.order("info", Fault.refuse(status=401, code="", message="invalid"))

    ended = doctor_in_a_terminal(tmp_path, emulator.base_url)

    assert ended.returncode == 1
    assert "PROBLEM     service" in ended.stdout
    assert "does not accept the API key" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert emulator.unused_faults == ()


def test_a_service_in_trouble_leaves_open_whether_it_accepts_the_key(emulator: Emulator, tmp_path: Path) -> None:
    emulator.order("info", Fault.refuse(status=503, code="", message="later"))

    found = examined(emulator.base_url, tmp_path)

    assert found["service"].state is State.UNCHECKED
    assert "but not whether it accepts the key" in found["service"].text


def test_without_a_network_the_rest_is_still_told(tmp_path: Path) -> None:
    with Emulator() as gone:
        address = gone.base_url

    found = examined(address, tmp_path)

    assert "was not reached" in found["service"].text
    assert (found["service"].state, found["description"].state) == (State.PROBLEM, State.UNCHECKED)
    assert found["ledger"].state is State.OK


def test_an_address_that_may_not_get_the_key_is_a_problem_and_nothing_is_sent(tmp_path: Path) -> None:
    found = examined("https://service.example/openapi", tmp_path)

    assert found["service"].state is State.PROBLEM
    assert "WESHOP_BASE_URL must be" in found["service"].text
    assert set(found) == {"program", "service", "ledger"}


def test_the_key_is_never_shown_but_its_source_and_end_are(tmp_path: Path) -> None:
    key, finding = doctor.key_of(REAL, {"WESHOP_API_KEY": KEY}, tmp_path)

    assert key is not None
    assert str(finding) == f"{'ok':<12}{'key':<13}from the environment variable WESHOP_API_KEY, ends with 1234"


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [({}, "No WeShop API key is configured"), ({"WESHOP_API_KEY": "short"}, "is too short to be a key")],
    ids=["no key", "half a key"],
)
def test_a_key_that_cannot_be_used_is_a_problem(environ: dict[str, str], sentence: str, tmp_path: Path) -> None:
    key, finding = doctor.key_of(REAL, environ, tmp_path)

    assert key is None
    assert finding.state is State.PROBLEM
    assert sentence in finding.text


def test_without_a_key_the_service_is_not_asked() -> None:
    async def ask() -> None:
        finding = await doctor.answer_finding(REAL, None)
        assert finding.state is State.UNCHECKED

    run(ask)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://user:password@proxy.example:8080", "http://proxy.example:8080"),
        ("socks5://proxy.example", "socks5://proxy.example"),
        ("", "none"),
    ],
    ids=["with a password", "without a port", "none"],
)
def test_a_proxy_is_shown_without_its_password(proxy: str, shown: str) -> None:
    finding = doctor.proxy_finding(REAL, Network(proxy_for=lambda _scheme, _host: proxy))

    assert finding.state is State.OK
    assert finding.text.startswith(shown)
    assert "password" not in finding.text


def test_a_proxy_that_is_no_address_is_a_problem() -> None:
    finding = doctor.proxy_finding(REAL, Network(proxy_for=lambda _scheme, _host: "http://[broken:99999999"))

    assert finding.state is State.PROBLEM


def test_a_certificate_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    finding = doctor.certificates_finding({"SSL_CERT_FILE": str(tmp_path / "gone.pem")}, Network())

    assert finding.state is State.PROBLEM
    assert "gone.pem, which does not exist" in finding.text


def test_certificates_that_cannot_be_loaded_are_a_problem() -> None:
    def broken() -> ssl.SSLContext:
        raise OSError("no certificates here")

    finding = doctor.certificates_finding({}, Network(certificates=broken))

    assert finding.state is State.PROBLEM
    assert "no certificates here" in finding.text


def test_a_description_may_write_paths_in_several_ways() -> None:
    finding = doctor.judge_description(DESCRIPTION)

    assert finding.state is State.OK
    assert "upload, submit, poll; not named, which it need not be: estimate (/agent/power-estimates)" in finding.text


def test_paths_may_begin_after_what_the_address_of_the_description_has_already() -> None:
    shortened = DESCRIPTION.replace("/openapi", "").replace("/agent", "")

    assert doctor.judge_description(shortened).state is State.OK


def test_the_description_of_the_emulator_names_all_that_is_used() -> None:
    finding = doctor.judge_description(describe())

    assert str(finding).endswith("upload, submit, poll, their fields and all models")


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("/agent/power-estimates:", "estimate (/agent/power-estimates)"),
        ("/v1/agent/info:", "key check (/v1/agent/info)"),
        ("image: {type: string, format: binary}", "image"),
        ("modelName:", "modelName"),
        ("textDescription:", "textDescription"),
        ("images: {", "images"),
        ("taskName:", "taskName"),
        ("tools:", "tools"),
        ("batchCount:", "batchCount"),
        ("safeGenerate:", "safeGenerate"),
        ("Seedream_50_Pro", "Seedream_50_Pro"),
        ("web_search", "web_search"),
        ("Idempotency-Key", "Idempotency-Key"),
    ],
)
def test_a_name_that_the_description_lacks_is_told_and_is_no_problem(gone: str, told: str) -> None:
    assert gone in describe()

    finding = doctor.judge_description(describe().replace(gone, "other:"))

    assert finding.state is State.OK
    assert finding.text.endswith(f"; not named, which it need not be: {told}")


def test_a_description_of_other_calls_is_not_judged() -> None:
    finding = doctor.judge_description("openapi: 3.1.0\npaths:\n  /pets:\n    get: {}\n")

    assert finding.state is State.UNCHECKED


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ("/agent/assets/images", "upload (/agent/assets/images)"),
        ("/openapi/agent/runs", "submit (/agent/runs)"),
        ("/agent/runs/{runId}", "poll (/agent/runs/{id})"),
    ],
)
def test_a_call_that_the_description_no_longer_names_is_a_problem(gone: str, named: str) -> None:
    finding = doctor.judge_description(DESCRIPTION.replace(gone, "/agent/other"))

    assert finding.state is State.PROBLEM
    assert finding.text.startswith(f"no longer names {named};")


@pytest.mark.parametrize("text", ["<html>sign in</html>", "", "openapi: 3.1.0\n"], ids=["a page", "nothing", "half"])
def test_what_is_no_description_is_not_judged(text: str) -> None:
    assert doctor.judge_description(text).state is State.UNCHECKED


def test_a_description_of_empty_lines_is_judged_at_once() -> None:
    started = time.thread_time()

    doctor.judge_description("openapi: 3.1.0\npaths:\n" + "\n" * 20_000)

    assert time.thread_time() - started < 2.0


def test_a_description_that_is_not_handed_out_is_not_checked(emulator: Emulator) -> None:
    async def look() -> None:
        elsewhere = Service(emulator.base_url.replace("/openapi", "/elsewhere/openapi"))
        finding = await doctor.description_finding(elsewhere, Network(), is_reachable=True)
        assert finding.state is State.UNCHECKED
        assert "is not handed out (HTTP 404)" in finding.text

    run(look)


def test_a_description_that_cannot_be_fetched_is_not_checked() -> None:
    with Emulator() as gone:
        service = Service(gone.base_url)

    async def look() -> None:
        finding = await doctor.description_finding(service, Network(), is_reachable=True)
        assert finding.state is State.UNCHECKED
        assert finding.text.startswith("/agent/openapi.yaml of the service could not be fetched")

    run(look)


def test_the_ledger_is_counted(shops: Shops) -> None:
    async def make_runs() -> None:
        async with shops.open() as shop:
            await loaded(shop, await shop.generate(pro(), seed=1))
            await shop.generate(pro(), seed=2)

    run(make_runs)

    (finding,) = doctor.ledger_findings(shops.folder / "ledger.sqlite3")
    assert finding.text.endswith("ledger.sqlite3: 2 runs, 0 not ended, 1 finished but not delivered")


def test_a_damaged_ledger_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite3"
    file.write_bytes(b"not a ledger" * 1000)

    findings = doctor.ledger_findings(file)

    assert State.PROBLEM in {finding.state for finding in findings}
    assert not doctor.is_well(findings)


def test_a_place_where_no_ledger_can_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where a folder should be")

    (finding,) = doctor.ledger_findings(tmp_path / "occupied" / "ledger.sqlite3")

    assert finding.state is State.PROBLEM
    assert "cannot be made" in finding.text
