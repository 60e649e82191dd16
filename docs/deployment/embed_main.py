"""What the frozen `embed` runs."""

from multiprocessing import freeze_support

from embedge.cli import main

if __name__ == "__main__":
    freeze_support()
    main()
