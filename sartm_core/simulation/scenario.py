"""A scenario: which light and weather the simulated rig drives through, and which sensors are unplugged when."""

from pydantic import Field, field_validator

from sartm_core.checked_yaml import Checked, read_yaml
from sartm_core.resources import resolve_config
from sartm_core.simulation.conditions import CONDITIONS, Condition


class Phase(Checked):
    """A stretch of time under one condition.

    Attributes:
        name: shown in reports.
        seconds: its length.
        condition: `day`, `night` or `fog`.
        unplugged: modalities that deliver nothing.
    """

    name: str
    seconds: float = Field(gt=0)
    condition: str
    unplugged: tuple[str, ...] = ()

    @field_validator("condition")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CONDITIONS:
            raise ValueError(f"expected one of {', '.join(CONDITIONS)}")
        return name

    @property
    def weather(self) -> Condition:
        return CONDITIONS[self.condition]


class Scenario(Checked):
    """Phases, one after the other."""

    name: str
    phases: tuple[Phase, ...] = Field(min_length=1)

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    def index_at(self, time_s: float) -> int | None:
        """Index of the phase at a time since the start, seconds; None after the end."""
        end = 0.0
        for index, phase in enumerate(self.phases):
            end += phase.seconds
            if time_s < end:
                return index
        return None


def load_scenario(name_or_path: str) -> Scenario:
    """Reads a scenario file, or a shipped one by its name.

    Raises:
        SartmError: no such scenario, or faults in the file; the message names each field.
    """
    return read_yaml(resolve_config(name_or_path, "scenarios"), Scenario)
