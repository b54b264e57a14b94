"""C{python -m egress}: the same as the command C{egress}."""

from egress.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
