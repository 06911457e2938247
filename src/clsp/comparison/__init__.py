"""Arms of a study."""
