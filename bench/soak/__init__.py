"""The whole job engine under load while its parts are killed: nothing may be lost, doubled or left behind."""
