"""python -m raypeft.sandbox --self-test: what isolation this machine gives, by trying to break out of it."""

import argparse

from raypeft.sandbox.selftest import report


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m raypeft.sandbox", description=__doc__)
    parser.add_argument("--self-test", action="store_true", required=True, help="try every tier and print what holds")
    parser.parse_args()
    print(report())


if __name__ == "__main__":
    main()
