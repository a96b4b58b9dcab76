"""What is done differently for one kind of credential, a module for each kind."""
