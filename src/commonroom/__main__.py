"""`python -m commonroom` and the `commonroom` command."""

from commonroom.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
