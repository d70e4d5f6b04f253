"""Open data into dataset folders: fetched politely, kept as fetched, read anew each time."""
