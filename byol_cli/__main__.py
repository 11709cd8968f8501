"""`python -m byol_cli` is `byol-train`."""

from byol_cli.cli.train import main

if __name__ == "__main__":
    main()
