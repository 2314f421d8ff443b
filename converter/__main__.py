"""`python -m converter` is kconvert."""

import os
import sys

if __name__ == "__main__":
    # Python puts the current folder first; a json.py or torch.py that lies there is not what is meant.
    if sys.path and sys.path[0] == os.getcwd() and not sys.flags.safe_path:
        del sys.path[0]

    from converter.cli import main

    main()
