# make demo    a simulated robot whose sensors die, segmented live through ROS 2; leaves out/demo
# make test    the whole test suite
# Both set up what they need in .venv; see docs/installation.md.

VENV ?= .venv
PYTHON ?= python3
# A process for each core, at most four: those that start nodes have a ROS domain of their own each.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
export PYTHON TORCH_INDEX

# A sourced ROS installation would shadow the environment's own rclpy; `make test-ros` is for the sourced one.
ISOLATED = env -u PYTHONPATH -u AMENT_PREFIX_PATH -u LD_LIBRARY_PATH -u ROS_DISTRO -u RMW_IMPLEMENTATION \
	-u FASTDDS_DEFAULT_PROFILES_FILE -u FASTRTPS_DEFAULT_PROFILES_FILE

.PHONY: help setup demo test test-fast test-messages coverage setup-ros test-ros soak lint docs wheel bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## make or renew .venv (reused while the lock is the same)
	@$(ISOLATED) bash requirements/install.sh $(VENV)

demo: setup  ## the live demo; leaves out/demo/report.html
	@$(ISOLATED) $(VENV)/bin/sartm demo --out out/demo

test: setup lint  ## lint and every test but the long ones (make soak) and those that need ROS
	@$(ISOLATED) $(PYTEST) test

test-fast: setup  ## the tests that take no more than seconds
	@$(ISOLATED) $(PYTEST) test -m "not slow"

test-messages: setup  ## live tests of message packages that are not in the package index; builds them in .venv/messages
	@$(ISOLATED) bash requirements/messages.sh $(VENV)
	@$(ISOLATED) PYTHONPATH=$(CURDIR)/$(VENV)/messages $(PYTEST) test/sartm_ros/node/test_message_packages.py

coverage: setup  ## make test, and how much of the code it runs; leaves out/coverage
	@$(ISOLATED) COVERAGE_FILE="$(CURDIR)/out/coverage/data" $(PYTEST) test --cov \
		--cov-report=term --cov-report=html:out/coverage/html

setup-ros:  ## with ROS sourced: an environment beside it, and the package built by colcon, in out/ros
	@bash requirements/install_ros.sh out/ros

test-ros:  ## launch tests, on a machine with ROS sourced and the package built by colcon
	@python3 -c 'import launch_testing' 2>/dev/null || { echo "make test-ros needs a sourced ROS 2 with launch_testing (apt install ros-\$$ROS_DISTRO-launch-testing-ros)"; exit 1; }
	launch_test test/launch/demo_launch_test.py
	launch_test test/launch/replay_launch_test.py

soak: setup  ## the long tests
	@$(ISOLATED) $(VENV)/bin/python -m pytest test -m soak

lint: setup  ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(ISOLATED) $(VENV)/bin/mypy

docs: setup  ## the documentation as a site, in out/site
	@NO_MKDOCS_2_WARNING=true $(VENV)/bin/python -m mkdocs build --strict

wheel:  ## the wheel, in out/wheel/dist, and a check of it in an environment of its own
	@$(ISOLATED) bash requirements/wheel.sh out/wheel

bench: setup  ## speed, as ratios within one run
	@for script in pipeline points encoder simulator training synchronizer node bag fleet; do $(ISOLATED) $(VENV)/bin/python bench/$$script.py || exit 1; done
	@$(ISOLATED) bash requirements/messages.sh $(VENV)
	@$(ISOLATED) PYTHONPATH=$(CURDIR)/$(VENV)/messages $(VENV)/bin/python bench/events.py

clean:  ## remove .venv, caches and out
	rm -rf $(VENV) out build install log .pytest_cache .mypy_cache .ruff_cache *.egg-info
