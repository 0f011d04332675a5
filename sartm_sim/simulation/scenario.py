"""A scenario: the light and weather the simulated rig drives through, and when and how its sensors fail."""

from pydantic import Field, field_validator

from sartm_core.checked_yaml import Checked, read_yaml
from sartm_core.errors import SartmError
from sartm_core.resources import resolve_config
from sartm_core.rig import Rig
from sartm_sim.simulation.conditions import CONDITIONS, Condition
from sartm_sim.simulation.faults import FAULTS, Fault, refuse_unknown


class Phase(Checked):
    """A stretch of time under one condition.

    Attributes:
        name: shown in reports.
        seconds: its length.
        condition: one of `CONDITIONS`.
        unplugged: modalities that deliver nothing.
        faults: modality -> its fault, one of `FAULTS`.
    """

    name: str
    seconds: float = Field(gt=0)
    condition: str
    unplugged: tuple[str, ...] = ()
    faults: dict[str, str] = Field(default_factory=dict)

    @field_validator("condition")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CONDITIONS:
            raise ValueError(f"expected one of {', '.join(CONDITIONS)}")
        return name

    @field_validator("faults")
    @classmethod
    def _known_faults(cls, faults: dict[str, str]) -> dict[str, str]:
        for modality, name in faults.items():
            if name not in FAULTS:
                raise ValueError(f"{modality}: '{name}' is unknown, expected one of {', '.join(FAULTS)}")
        return faults

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

    def broken_at(self, time_s: float) -> dict[str, Fault]:
        """Modality -> its fault at a time; a fault that spans several phases began with the first."""
        index = self.index_at(time_s)
        if index is None:
            return {}
        starts = [sum(phase.seconds for phase in self.phases[:number]) for number in range(len(self.phases))]
        broken = {}
        for modality, name in self.phases[index].faults.items():
            first = index
            while first > 0 and self.phases[first - 1].faults.get(modality) == name:
                first -= 1
            broken[modality] = Fault(name, starts[first])
        return broken

    def check_fits(self, rig: Rig) -> None:
        """Checks the modalities that the phases name.

        Raises:
            SartmError: the rig has no such modality, or the fault does not apply to its kind; lists what does.
        """
        for number, phase in enumerate(self.phases):
            where = f"scenario '{self.name}', phases.{number}"
            for modality in (*phase.unplugged, *phase.faults):
                if modality not in rig.names:
                    raise SartmError(
                        f"{where}: rig '{rig.name}' has no modality '{modality}'. It has: {', '.join(rig.names)}."
                    )
            for modality, name in phase.faults.items():
                try:
                    refuse_unknown(name, rig.modality(modality).kind)
                except ValueError as error:
                    raise SartmError(f"{where}.faults.{modality}: {error}.") from None

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
