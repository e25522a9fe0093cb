"""Networks, one file per family; each is a torch.nn.Module made of the choices in `Blocks`."""
