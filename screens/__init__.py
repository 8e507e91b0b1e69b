"""One module and one .tcss file a screen; widgets shared by several screens."""
