"""What the operator sees, and the project package."""

import atexit
import gc

from console.process import start

# A process makes some hundred thousand objects as it starts, and hardly any garbage. Python would look for it
# after every 700 of them, which is a tenth of the start; so here it does after 20,000.
gc.set_threshold(20_000, 20, 20)
# When the process ends, Python looks through all of them again and frees one after the other what the system
# takes back at once. Without that a short command takes a third less.
atexit.register(gc.freeze)

# Every process of Keyturn imports this package first and reads the settings later.
start.watch()
