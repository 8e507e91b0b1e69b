// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Handler} from "./Handler.sol";

/// @title What holds of a rollup whatever anybody does to it
contract RollupInvariants {
    Handler private _handler;

    function setUp() external {
        _handler = new Handler();
    }

    /// @notice Foundry calls these contracts at random.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_etherIsBondsRewardsAndWhatIsBurnt() external view {
        require(address(_handler.rollup()).balance == _handler.owedWei() + _handler.burntWei(), "ether is lost or made");
    }

    function invariant_theAssetIsWhatWasDepositedLessWhatWasPaid() external view {
        uint256 owedNano = _handler.depositedNano() - _handler.refundedNano();
        uint256 held = _handler.usd().balanceOf(address(_handler.rollup()));
        require(held == owedNano * _handler.rollup().unitsPerNano(), "deposits are lost or made");
        require(_handler.usd().balanceOf(address(_handler.inbox())) == 0, "the inbox keeps money");
    }

    function invariant_whatIsFinalStays() external view {
        uint256 finalCount = _handler.finalCount();
        require(_handler.rollup().finalCount() == finalCount, "another call made batches final");
        require(_handler.rollup().count() >= finalCount, "a final batch is gone");
        if (finalCount == 0) return;
        require(_handler.rollup().batch(finalCount - 1).postRoot == _handler.finalRoot(), "a final root changed");
    }

    function invariant_theInboxIsOneChainOfHashes() external view {
        uint256 count = _handler.inbox().length();
        require(_handler.inbox().hashOf(count) == _handler.inboxHashes(count), "another message, or another order");
    }

    function invariant_batchesGoForward() external view {
        uint256 count = _handler.rollup().count();
        for (uint256 i = 1; i < count; ++i) {
            require(
                _handler.rollup().batch(i).l2Time >= _handler.rollup().batch(i - 1).l2Time
                    && _handler.rollup().batch(i).inboxTo >= _handler.rollup().batch(i - 1).inboxTo,
                "time or inbox went back"
            );
        }
    }

    function invariant_aFrozenRollupTakesNothing() external view {
        if (_handler.rollup().frozenAt() == 0) return;
        require(_handler.rollup().count() <= _handler.frozenCount(), "a batch came after the freeze");
    }

    function invariant_whoLeadsIsListedOnce() external view {
        uint256 listed = _handler.rollup().sequencerCount();
        for (uint256 i = 0; i < listed; ++i) {
            address sequencer = _handler.rollup().sequencers(i);
            (uint128 amount,,, uint32 place) = _handler.rollup().bonds(sequencer);
            require(place == i + 1 && amount >= _handler.rollup().minBond(), "listed without a bond");
        }
    }

    /// @notice The handler reaches what the invariants are about.
    function test_everythingWorthReachingIsReached() external {
        _handler.bond(0, 2 ether);
        _handler.bond(1, 2 ether);
        _handler.deposit(0, 5);
        _handler.force(hex"ee");
        _handler.post(0, 0);
        _handler.prove(0, 7);
        _handler.claim(0, 0);
        _handler.post(1, 0);
        _handler.wait(650, 0);
        _handler.finalize(0);
        _handler.unbond(1);
        _handler.deposit(1, 7);
        _handler.freeze(1_600);
        _handler.refund(1);
        bytes32[7] memory wanted = [bytes32("post"), "prove", "claim", "finalize", "unbond", "freeze", "refund"];
        for (uint256 i = 0; i < wanted.length; ++i) {
            require(_handler.reached(wanted[i]) != 0, string(abi.encodePacked("not reached: ", wanted[i])));
        }
    }
}
