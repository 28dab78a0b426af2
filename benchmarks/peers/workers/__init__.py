"""Programs that run in the environments of the libraries, without this library."""
