"""The rollup: types, codec, state tree, state transition, contracts, L1, sequencer, bridge and client."""
