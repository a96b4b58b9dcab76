# Shows that a login runs commands.
Say @{ say = 'DONE' }
