"""What ``monai-nas benchmark`` measures: our parts beside those of others, in one run, in turn."""
