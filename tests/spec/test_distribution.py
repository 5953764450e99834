"""The wheel and the source distribution: what is in them, and that they install where there is nothing but Python."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from handoffd import __version__

PROJECT = Path(__file__).parents[2]
LIMIT_S = 300
NAME = f"handoffd-{__version__}"
NOT_SHIPPED = (".ci/",)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * LIMIT_S)]


def run(*command: str | Path, cwd: Path = PROJECT, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "BIN": str(Path(sys.executable).parent), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> set[str]:
    if not (PROJECT / ".git").exists():
        pytest.skip("needs a checkout: this tree has no git")
    # What is new and not added yet gets in as well; what is ignored does not.
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return {name for name in names if (PROJECT / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both; the wheel is made out of the source distribution, as an index would have it."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, PROJECT)
    return directory


@pytest.fixture(scope="module")
def wheels() -> Path:
    directory = PROJECT / "build/wheels" / f"{sys.version_info[0]}.{sys.version_info[1]}"
    asked = subprocess.run(
        [PROJECT / "packaging/wheels", directory],
        env={**os.environ, "BIN": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if "NewConnectionError" in asked.stderr or "Temporary failure in name resolution" in asked.stderr:
        pytest.skip("needs network: pip reaches no package index")
    assert asked.returncode == 0, asked.stderr
    return directory


def wheel_of(directory: Path) -> zipfile.ZipFile:
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    inside = {name for name in wheel_of(built).namelist() if not name.startswith(f"{NAME}.dist-info/")}
    package = {name.removeprefix("daemon/") for name in tracked() if name.startswith("daemon/handoffd/")}
    assert inside == package | {"handoffd/build.json"}


def test_the_wheel_says_what_it_is(built: Path) -> None:
    archive = wheel_of(built)
    metadata = archive.read(f"{NAME}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "handoffd = handoffd.__main__:main" in archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
    assert f"{NAME}.dist-info/licenses/LICENSE" in archive.namelist()


def test_the_source_distribution_holds_the_project_as_git_knows_it(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        inside = {member.name.removeprefix(f"{NAME}/") for member in archive if member.isfile()}
    project = {name for name in tracked() if not name.startswith(NOT_SHIPPED)}
    assert inside == project | {"PKG-INFO", "daemon/handoffd/build.json"}


def test_checkout_and_source_distribution_give_the_same_wheel(built: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, PROJECT)
    from_source, from_checkout = (
        {name: sorted(archive.read(name).splitlines()) for name in archive.namelist()}
        for archive in (wheel_of(built), wheel_of(tmp_path))
    )
    assert from_source == from_checkout


def test_installed_where_nothing_else_is_it_gives_the_demonstration(built: Path, wheels: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=True)
    bare = tmp_path / "bare/bin"
    environment = {"PATH": f"{bare}:/usr/bin:/bin", "PYTHONPATH": "", "HOME": str(tmp_path)}
    (wheel,) = built.glob("*.whl")
    run(bare / "pip", "install", "--quiet", "--no-index", f"--find-links={wheels}", wheel, environment=environment)
    run(bare / "pip", "check", environment=environment)

    version = run(bare / "handoffd", "--version", cwd=tmp_path, environment=environment)
    commit = run("git", "rev-parse", "HEAD").strip()
    assert version.startswith(f"handoffd {__version__}\n")
    assert f"\ncommit     {commit[:12]} of " in version
    assert f", {bare / 'python'}" in version

    played = run(bare / "handoffd", "demo", cwd=tmp_path, environment=environment)
    assert re.search(r"^(\d+) of \1 as promised", played, re.MULTILINE), played
