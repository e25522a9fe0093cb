"""What a user's own table is made of, each part in a file: how it is read, what its columns are, what is told of it."""
