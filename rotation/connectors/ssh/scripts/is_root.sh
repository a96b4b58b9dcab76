# Nothing but what every script does first: it refuses where it is not root's, or could not keep a value to itself.
say END
