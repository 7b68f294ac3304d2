"""python -m ratiocine.executors VERB words…: a command started by an executor, which ends with its parent process."""

import sys

from ratiocine.executors.local import end_with_parent, exec_module

if __name__ == "__main__":
    end_with_parent()
    exec_module(sys.argv[1], sys.argv[2:])
