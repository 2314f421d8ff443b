"""`python -m converter` is kconvert."""

from converter.cli import main

if __name__ == "__main__":
    main()
