"""The lectures' claims: what each says, the runs that show it, and the verdict, made of the files that they left."""
