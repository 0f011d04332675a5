"""The supported Python versions and ROS distributions. `pipx run nox -l` lists what can be run.

nox -s tests-3.12     lint and all tests in an environment of its own; needs that Python, and 200 MB for torch
nox -s lock           resolves the lock for every Python, and rclpy of Jazzy and Kilted; installs nothing
"""

from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
DISTRIBUTIONS = ("jazzy", "kilted")
MESSAGES = ("ros-sensor-msgs", "ros-diagnostic-msgs", "ros-std-srvs")
LOCK = Path("requirements/lock.txt").resolve()

nox.options.sessions = ["lock"]


@nox.session(venv_backend="none")
@nox.parametrize("python", PYTHONS, ids=PYTHONS)
def tests(session: nox.Session, python: str) -> None:
    """`make test`, which makes the environment itself."""
    session.run("make", "test", f"PYTHON=python{python}", f"VENV=.nox/make-{python}", external=True)


@nox.session
def lock(session: nox.Session) -> None:
    """Every package of the lock exists for every Python, and their requirements agree; so do rclpy's."""
    session.install("uv")
    folder = Path(session.create_tmp())
    for python in PYTHONS:
        _resolve(session, python, LOCK)
    for distribution in DISTRIBUTIONS:
        wanted = folder / f"{distribution}.txt"
        wanted.write_text("\n".join((f"ros-{distribution}-rclpy[fastrtps]", *MESSAGES)) + "\n")
        _resolve(session, "3.12", wanted)


def _resolve(session: nox.Session, python: str, wanted: Path) -> None:
    session.run("uv", "pip", "compile", "--quiet", "--no-header", "--python-version", python, str(wanted), silent=True)
