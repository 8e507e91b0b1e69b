"""The devnet: an embedded L1, the rollup on it, its sequencer, RPC and faucet, as one service with one home.

Importing this package is cheap; what it runs is imported when it runs.
"""

from chain.devnet.config import DevnetConfig, DevnetParams, DevnetReady, OperatorTerms, OtherL1
from chain.devnet.service import Devnet, run_devnet

__all__ = ["Devnet", "DevnetConfig", "DevnetParams", "DevnetReady", "OperatorTerms", "OtherL1", "run_devnet"]
