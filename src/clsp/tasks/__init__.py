"""Systems that are more than an encoder, each in a folder with its settings, its training and its results."""
