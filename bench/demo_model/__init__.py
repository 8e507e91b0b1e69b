"""How the demo model is made and measured: `train` on text written by `corpus`, then `evaluate`. Not shipped."""
