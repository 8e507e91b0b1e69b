"""The sequencer: orders and executes L2 transactions, answers with soft receipts, posts batches, runs a devnet."""

from chain.sequencer.config import SequencerConfig
from chain.sequencer.sequencer import Sequencer

__all__ = ["Sequencer", "SequencerConfig"]
