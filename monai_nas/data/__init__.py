"""From folders of images to batches: checks, phantoms, transforms, loaders. Import the modules themselves."""
