"""Reading model files as data, writing the results."""
