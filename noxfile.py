"""The supported Python versions and ROS distributions. `pipx run nox -l` lists what can be run.

    nox -s tests-3.12     lint and all tests in an environment of its own; needs that Python, and 200 MB for torch
    nox -s lock           resolves requirements/lock.txt for every Python, and for Jazzy's rclpy; installs nothing
"""

import os
from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOCK = Path("requirements/lock.txt")
KILTED, JAZZY = ("ros-kilted-rclpy==9.1.2", "ros-rclpy==9.1.2"), ("ros-jazzy-rclpy==7.1.6", "ros-rclpy==7.1.6")

nox.options.sessions = ["lock"]


@nox.session(venv_backend="none")
@nox.parametrize("python", PYTHONS, ids=PYTHONS)
def tests(session: nox.Session, python: str) -> None:
    """`make test`, which makes the environment itself."""
    session.run("make", "test", f"PYTHON=python{python}", f"VENV=.nox/make-{python}", external=True)


@nox.session
def lock(session: nox.Session) -> None:
    """Every package of the lock exists for every Python, and their requirements agree."""
    session.install("uv")
    for python in PYTHONS:
        session.run("uv", "pip", "compile", "--quiet", "--python-version", python, str(LOCK), "--output-file", os.devnull)
