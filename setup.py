"""One package for pip and for colcon (ament_python): the core, the ROS 2 side, launch and config files."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = "sartm_ros"
TORCH = ["torch>=2.5", "hydra-core>=1.3", "iopath>=0.1.10", "sam2>=1.1"]
EXPORT = ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.23"]

setup(
    name=PACKAGE,
    version="0.1.0",
    description="Multi-modal semantic segmentation for ROS 2 that keeps working when sensors don't",
    license="Apache-2.0",
    author="The sartm authors",
    maintainer="The sartm authors",
    maintainer_email="sartm@users.noreply.github.com",
    python_requires=">=3.10",
    packages=find_packages(include=["sartm_core*", "sartm_ros*", "sartm_sim*"]),
    package_data={
        "sartm_core": ["py.typed", "weights/*.safetensors", "weights/*/*", "evaluation/*.j2"],
        "sartm_ros": ["py.typed", "fleet/*.j2"],
        "sartm_sim": ["py.typed", "demo/*.j2"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (
            f"share/{PACKAGE}/hook",
            ["resource/path.dsv"],
        ),  # colcon.pkg: `sartm` is on PATH where the workspace is sourced
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*.*")),
        (f"share/{PACKAGE}/config/systemd", glob("config/systemd/*.service")),
        (f"share/{PACKAGE}/config/rigs", glob("config/rigs/*.yaml")),
        (f"share/{PACKAGE}/config/scenarios", glob("config/scenarios/*.yaml")),
        (f"share/{PACKAGE}/config/consumers", glob("config/consumers/*.yaml")),
        (f"share/{PACKAGE}/config/label_spaces", glob("config/label_spaces/*.yaml")),
        (f"share/{PACKAGE}/config/class_maps", glob("config/class_maps/*.yaml")),
    ],
    # torch brings CUDA or not, rclpy comes from apt or from PyPI: both are the user's choice, see docs/installation.md.
    install_requires=[
        "filelock>=3.12",
        "jinja2>=3",
        "lz4>=3",
        "matplotlib>=3.5",
        "mcap>=1.2",
        "numpy>=1.21",
        "pillow>=9",
        "pycocotools>=2.0.8",
        "opencv-python-headless>=4.5.4",
        "psutil>=5.9",
        "pydantic>=2.7",
        "pyyaml>=6",
        "rich>=11",
        "rosbags>=0.11",
        "safetensors>=0.4",
        "scipy>=1.10",
        "typer>=0.12",
        "zstandard>=0.20",
    ],
    extras_require={
        "onnx": ["onnxruntime>=1.23"],
        "export": EXPORT,
        "torch": TORCH,
        "test": ["hypothesis", "pytest", "rosbags-image>=0.10", "torchmetrics>=1.4"],
        "train": [
            *TORCH,
            *EXPORT,
            "peft==0.21.2",
            "lightning>=2.4",
            "tensorboardX>=2.6",
            "transformers>=4.50",
        ],
        "fleet": ["fsspec>=2024.2", "pyarrow>=15", "ray>=2.40"],
        "muses": ["h5py>=3.10", "hdf5plugin>=4"],
        "pictures": ["scikit-learn>=1.4"],
        "gpu": ["nvidia-ml-py>=12"],
        "viewer": ["av>=14", "rerun-sdk>=0.41"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "sartm = sartm_ros.cli:main",
            "perception_node = sartm_ros.node.lifecycle:main",
            "simulator_node = sartm_sim.simulator_node:main",
        ]
    },
)
