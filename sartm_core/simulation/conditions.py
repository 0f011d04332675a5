"""Light and weather, as far as the sensors feel them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One state of light and weather.

    Attributes:
        sun: irradiance of a surface that faces the sun, relative to a bright day.
        ambient: sky light, same unit.
        headlights: the ego's head lights, irradiance at 1 m on the axis, same unit.
        airlight: brightness of thick fog.
        visible_extinction_per_m: Beer-Lambert extinction of visible light.
        thermal_extinction_per_m: the same at 8 to 14 micrometres, where fog is thinner.
        air_k: air temperature, kelvin.
        sky_k: radiative temperature of the zenith, kelvin.
        solar_heating_k: how much warmer than the air a sunlit surface is, kelvin.
        depth_range_m: how far the stereo camera still finds matches, metres.
    """

    name: str
    sun: float
    ambient: float
    headlights: float
    airlight: float
    visible_extinction_per_m: float
    thermal_extinction_per_m: float
    air_k: float
    sky_k: float
    solar_heating_k: float
    depth_range_m: float


_DAY = Condition(
    name="day",
    sun=0.75,
    ambient=0.35,
    headlights=0.0,
    airlight=0.9,
    visible_extinction_per_m=0.001,
    thermal_extinction_per_m=0.0005,
    air_k=293.0,
    sky_k=258.0,
    solar_heating_k=9.0,
    depth_range_m=60.0,
)
_NIGHT = Condition(
    name="night",
    sun=0.0,
    ambient=0.010,
    headlights=14.0,
    airlight=0.02,
    visible_extinction_per_m=0.001,
    thermal_extinction_per_m=0.0005,
    air_k=280.0,
    sky_k=250.0,
    solar_heating_k=0.0,
    depth_range_m=25.0,
)
_FOG = Condition(
    name="fog",
    sun=0.06,
    ambient=0.50,
    headlights=0.0,
    airlight=0.72,
    visible_extinction_per_m=0.075,
    thermal_extinction_per_m=0.018,
    air_k=283.0,
    sky_k=279.0,
    solar_heating_k=1.5,
    depth_range_m=30.0,
)

CONDITIONS: dict[str, Condition] = {condition.name: condition for condition in (_DAY, _NIGHT, _FOG)}
"""Known conditions by name."""
