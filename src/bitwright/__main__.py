"""`python -m bitwright` is `bitwright`."""

from bitwright.cli.main import main

main()
