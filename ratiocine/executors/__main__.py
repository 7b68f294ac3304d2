"""python -m ratiocine.executors VERB …: the child process of an executor; ends with its parent."""

import sys

from ratiocine.executors.local import end_with_parent, exec_module

if __name__ == "__main__":
    end_with_parent()
    exec_module(sys.argv[1], sys.argv[2:])
