"""Light and weather, as they affect the sensors."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One state of light and weather.

    Attributes:
        sun: irradiance of a surface that faces the sun, relative to a bright day.
        ambient: sky light, same unit.
        headlights: the ego's head lights, irradiance at 1 m on the axis, same unit.
        lamps: whether street lamps, windows and the others' lamps are on.
        low_sun: the sun stands ahead, just above the horizon, and blinds the colour camera.
        airlight: brightness of thick fog.
        visible_extinction_per_m: Beer-Lambert extinction of visible light.
        thermal_extinction_per_m: the same at 8 to 14 micrometres, where fog is thinner.
        lidar_extinction_per_m: the same at 905 nm for the last echo, which sees through the haze between drops.
        air_k: air temperature, kelvin.
        sky_k: radiative temperature of the zenith, kelvin.
        solar_heating_k: how much warmer than the air a sunlit surface is, kelvin.
        stereo_range_m: how far the stereo camera still finds matches, metres.
        rain: 0 dry, 1 heavy: streaks, wet ground, cooled surfaces, lost echoes.
    """

    name: str
    sun: float
    ambient: float
    headlights: float = 0.0
    lamps: bool = False
    low_sun: bool = False
    airlight: float
    visible_extinction_per_m: float = 0.001
    thermal_extinction_per_m: float = 0.0005
    lidar_extinction_per_m: float = 0.0005
    air_k: float
    sky_k: float
    solar_heating_k: float
    stereo_range_m: float
    rain: float = 0.0


_DAY = Condition(
    name="day",
    sun=0.75,
    ambient=0.35,
    airlight=0.9,
    air_k=293.0,
    sky_k=258.0,
    solar_heating_k=7.0,
    stereo_range_m=60.0,
)
_DUSK = Condition(
    name="dusk",
    sun=0.0,
    ambient=0.07,
    headlights=6.0,
    lamps=True,
    airlight=0.1,
    air_k=287.0,
    sky_k=254.0,
    solar_heating_k=2.0,
    stereo_range_m=45.0,
)
_NIGHT = Condition(
    name="night",
    sun=0.0,
    ambient=0.0001,
    headlights=0.9,
    lamps=True,
    airlight=0.01,
    air_k=280.0,
    sky_k=250.0,
    solar_heating_k=0.0,
    stereo_range_m=22.0,
)
_FOG = Condition(
    name="fog",
    sun=0.05,
    ambient=0.50,
    airlight=0.72,
    visible_extinction_per_m=0.13,
    thermal_extinction_per_m=0.018,
    lidar_extinction_per_m=0.012,
    air_k=283.0,
    sky_k=279.0,
    solar_heating_k=1.5,
    stereo_range_m=28.0,
)
_RAIN = Condition(
    name="rain",
    sun=0.0,
    ambient=0.32,
    airlight=0.5,
    visible_extinction_per_m=0.022,
    thermal_extinction_per_m=0.008,
    lidar_extinction_per_m=0.006,
    air_k=284.0,
    sky_k=276.0,
    solar_heating_k=0.3,
    stereo_range_m=38.0,
    rain=1.0,
)
_LOW_SUN = replace(_DAY, name="low_sun", sun=0.9, ambient=0.2, low_sun=True, solar_heating_k=4.0, air_k=288.0)

CONDITIONS: dict[str, Condition] = {
    condition.name: condition for condition in (_DAY, _DUSK, _NIGHT, _FOG, _RAIN, _LOW_SUN)
}
"""Known conditions by name."""
