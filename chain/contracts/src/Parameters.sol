// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "./Asset.sol";
import {IStf} from "./IStf.sol";

/// @notice What a rollup is deployed with, for good.
/// @param asset The settlement asset, with 6 to 27 decimals.
/// @param stf The state transition that disputes are decided by.
/// @param genesisRoot The L2 state root before the first batch.
/// @param challengeWindow How long a batch can be challenged, in seconds.
/// @param forceDelay How long a batch may leave an inbox message waiting, and L2 time may lag, in seconds.
/// @param takeoverDelay How long a message waits before anyone with a bond may sequence, in seconds.
/// @param freezeDelay How long a message waits before anyone may freeze the rollup, in seconds.
/// @param closeDelay How long a payer who closes a channel alone must wait, in L2 seconds.
/// @param unstakeDelay How long a stake on its way out stays slashable, in L2 seconds.
/// @param revealDelay How many L1 blocks lie between a fraud proof's commitment and its reveal, at least.
/// @param l2ChainId The L2's chain id, for wallets that tell networks apart by it.
/// @param maxTimeAhead How far a batch's L2 time may run ahead of the L1 block's, in seconds.
/// @param minBond The least bond of a sequencer, in wei.
/// @param turnBatches After how many batches a leader's turn ends.
/// @param turnSeconds After how many seconds it ends.
/// @param turnGrace How long the next in turn alone may begin its own, in seconds.
struct Parameters {
    IERC20 asset;
    IStf stf;
    bytes32 genesisRoot;
    uint64 challengeWindow;
    uint64 forceDelay;
    uint64 takeoverDelay;
    uint64 freezeDelay;
    uint64 closeDelay;
    uint64 unstakeDelay;
    uint64 revealDelay;
    uint64 l2ChainId;
    uint64 maxTimeAhead;
    uint128 minBond;
    uint64 turnBatches;
    uint64 turnSeconds;
    uint64 turnGrace;
}

/// @title What a rollup's parameters owe each other
/// @notice The same rules as `chain/delays.py`, which derives them; docs/rollup.md says what each keeps whole.
library ParameterRules {
    /// @notice The first rule that the parameters break; 0 if they keep all.
    function broken(Parameters memory given) internal view returns (uint256 rule) {
        if (address(given.stf).code.length == 0) return 1;
        if (given.minBond == 0 || given.turnBatches == 0 || given.turnSeconds == 0) return 2;
        if (given.forceDelay == 0 || given.revealDelay == 0) return 3;
        // A proof can be revealed while the window is open, however fast L1's blocks come.
        if (given.challengeWindow <= given.revealDelay) return 4;
        if (given.takeoverDelay < given.forceDelay) return 5;
        // L2 may lag by the force delay when a close begins, and a forced message is executed at the latest when anyone may
        // take over, on an L2 that runs ahead; the payee and whoever takes over share another force delay.
        uint256 least = 2 * uint256(given.forceDelay) + given.takeoverDelay + given.maxTimeAhead;
        if (given.closeDelay < least) return 6;
        if (given.unstakeDelay < least) return 7;
        // A fraud that is proven at the window's end puts messages back that are older than all of that.
        if (given.freezeDelay < uint256(given.challengeWindow) + given.takeoverDelay + given.forceDelay) return 8;
        return 0;
    }
}
