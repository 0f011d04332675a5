"""The commands of the core, one file per group; `sartm_core.cli` assembles them."""
