"""`python -m qcs` is the command line, as launchers of several processes need it."""

from qcs.cli import main

main()
