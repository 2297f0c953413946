"""`python -m waypost`: how the supervisor starts its servers, the same command as `waypost`."""

from waypost.cli.main import main

if __name__ == "__main__":
    main()
