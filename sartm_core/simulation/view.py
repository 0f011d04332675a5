"""One camera's view of the scene at one instant: geometry and materials per pixel, before any sensor."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sartm_core.simulation import raycast, scene
from sartm_core.simulation.raycast import Camera
from sartm_core.simulation.scene import Scene

CAMERA_HEIGHT_M = 1.6
HORIZONTAL_FOV_RAD = 1.15
VIEW_BEHIND_M, VIEW_AHEAD_M = 10.0, 150.0


@dataclass(frozen=True, slots=True)
class View:
    """What all sensors of the rig look at. Every array is [H, W] or [H, W, 3].

    Attributes:
        truth: uint8, class ids.
        depth_m: float32, along the optical axis, infinite for the sky.
        elevation: float32, sine of the ray's angle above the horizon.
        normal: float32 [H, W, 3], world frame (x right, y down, z forward).
        albedo: float32 [H, W, 3], with texture.
        own_heat_k: float32, own heat with texture, kelvin above the surroundings.
        texture: float32, 0 to 1, the material's grain.
        window: bool, glass of a building.
        focal_px: focal length, pixels.
    """

    truth: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    elevation: NDArray[np.float32]
    normal: NDArray[np.float32]
    albedo: NDArray[np.float32]
    own_heat_k: NDArray[np.float32]
    texture: NDArray[np.float32]
    window: NDArray[np.bool_]
    focal_px: float


def look(street: Scene, time_s: float, size: tuple[int, int]) -> View:
    """Renders geometry and materials at a time (seconds since the start of the drive) and a size (height, width)."""
    height, width = size
    focal = width / 2 / np.tan(HORIZONTAL_FOV_RAD / 2)
    position = np.array([street.ego_x_m, -CAMERA_HEIGHT_M, street.ego_speed_mps * time_s])
    camera = Camera(height, width, focal, position)
    things = _visible(street, position[2], time_s)
    hits = raycast.cast(camera, things)
    point = np.empty((height, width, 3), np.float32)
    finite_depth = np.where(np.isfinite(hits.depth), hits.depth, 1.0)
    point[..., 0] = camera.columns * finite_depth + position[0]
    point[..., 1] = camera.rows[:, None] * finite_depth + position[1]
    point[..., 2] = finite_depth + position[2]

    ground_kind = np.digitize(
        np.abs(point[..., 0]), (street.road_half_width_m, street.road_half_width_m + street.sidewalk_width_m)
    )
    is_thing, is_sky = hits.primitive >= 0, hits.primitive == raycast.SKY_ID
    # One gather per attribute: row 0..2 the grounds, row 3 the sky, then the things.
    row = np.where(is_thing, hits.primitive + 4, np.where(is_sky, 3, ground_kind))
    classes = np.concatenate([[scene.ROAD, scene.SIDEWALK, scene.TERRAIN, scene.SKY], things.class_id]).astype(np.uint8)
    albedos = np.concatenate([street.ground_albedo, np.zeros((1, 3)), things.albedo]).astype(np.float32)
    heats = np.concatenate([np.zeros(4), things.own_heat_k]).astype(np.float32)
    windowed = np.concatenate([np.zeros(4), things.windows]).astype(bool)

    normal = raycast.normals(camera, things, hits)
    along = np.where(np.abs(normal[..., 0]) > 0.5, point[..., 2], point[..., 0])
    window = (
        windowed[row]
        & (along % 3.2 > 1.1)
        & (along % 3.2 < 2.5)
        & (point[..., 1] % 3.0 > 0.9)
        & (point[..., 1] % 3.0 < 2.2)
    )
    texture = _grain(
        np.where(is_thing, along, point[..., 0]), np.where(is_thing, point[..., 1], point[..., 2]), hits.depth
    )
    albedo = albedos[row] * (0.65 + 0.7 * texture[..., None])
    albedo[window] *= 0.35
    albedo[_marking(street, point, row == 0)] = 0.75
    ray_length = np.sqrt(1 + camera.columns**2 + camera.rows[:, None] ** 2)
    return View(
        truth=classes[row],
        depth_m=hits.depth,
        elevation=(-camera.rows[:, None] / ray_length).astype(np.float32),
        normal=normal,
        albedo=albedo,
        own_heat_k=heats[row] * (0.8 + 0.4 * texture),
        texture=texture,
        window=window,
        focal_px=focal,
    )


def _visible(street: Scene, ego_z: float, time_s: float) -> scene.Primitives:
    """The things near the ego, moved to where they are now; the street repeats itself."""
    things = street.primitives
    centre = things.centre + things.velocity * time_s
    centre[:, 2] = (centre[:, 2] - ego_z + VIEW_BEHIND_M) % scene.SCENE_LENGTH_M + ego_z - VIEW_BEHIND_M
    ahead = centre[:, 2] - things.half[:, 2] - ego_z < VIEW_AHEAD_M
    return replace(things, centre=centre).select(ahead)


def _marking(street: Scene, point: NDArray[np.float32], road: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dashes in the middle, lines at the edges."""
    across, along = point[..., 0], point[..., 2]
    dash = (np.abs(across) < 0.08) & (along % 6.0 < 3.0)
    edge = np.abs(np.abs(across) - street.road_half_width_m + 0.3) < 0.06
    return road & (dash | edge)


def _noise_tile() -> NDArray[np.float32]:
    """A 512 x 512 tile of noise with several octaves, 0 to 1; the same in every process."""
    rng = np.random.default_rng(0)
    tile = np.zeros((512, 512), np.float32)
    for octave in range(3, 10):
        coarse = rng.random((2**octave, 2**octave), np.float32)
        tile += cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_LINEAR) * 0.75**octave
    return (tile - tile.min()) / (tile.max() - tile.min())


_TILE = _noise_tile()
_TEXELS_PER_M = 24.0


def _grain(u_m: NDArray[np.float32], v_m: NDArray[np.float32], depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """The tile at surface coordinates in metres; fades to its mean where a pixel covers many texels."""
    texel = _TILE[(v_m * _TEXELS_PER_M).astype(np.int32) & 511, (u_m * _TEXELS_PER_M).astype(np.int32) & 511]
    sharp = np.clip(12.0 / np.maximum(depth_m, 1e-3), 0.25, 1.0)
    mean = np.float32(_TILE.mean())
    return mean + (texel - mean) * sharp
