// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Batches} from "./Batches.sol";
import {Disputes} from "./Disputes.sol";
import {FastWithdrawals} from "./FastWithdrawals.sol";
import {ISemver} from "./ISemver.sol";
import {Parameters} from "./Parameters.sol";

/// @title The Idlewatt rollup: batches of L2 transactions, their finality and disputes, and the money behind them
/// @notice No owner, no proxy, no pause: what is deployed is what runs. Sequencers with a bond take turns and anyone of
/// them takes over from one that stalls, anyone may prove a wrong batch, anyone may make the batches past their window
/// final, and anyone may submit a claim, which pays its recipient.
contract Rollup is Disputes, FastWithdrawals, ISemver {
    /// @inheritdoc ISemver
    string public constant version = "2.0.0";

    /// @param parameters What it is deployed with, for good.
    constructor(Parameters memory parameters) Batches(parameters) {}
}
