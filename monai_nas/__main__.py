"""``python -m monai_nas`` is the command ``monai-nas``."""

from monai_nas.cli.app import main

if __name__ == "__main__":
    main()
