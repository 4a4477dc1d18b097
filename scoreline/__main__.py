"""`python -m scoreline`: the same as the console script."""

from scoreline.jobs.cli import main

if __name__ == "__main__":
    main()
