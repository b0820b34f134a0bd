"""Running a plan. Importing this package sets what Ray reads once, when it is imported; it does not import Ray."""

import os

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its own tables would fight ours for the terminal
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # rows go to Parquet, not to CSV, JSON and TensorBoard
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C reaches run_sweep, which still prints the table
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths of the sweep file stay valid
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing goes to the network that the user did not ask for
