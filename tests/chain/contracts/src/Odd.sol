// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, IERC20} from "./Asset.sol";
import {Frames} from "./Frames.sol";
import {TestUSD} from "./TestUSD.sol";

/// A dollar with the decimals of USDC.
contract SixDecimals is TestUSD {
    function decimals() external pure override returns (uint8) { return 6; }
}

/// A token with any number of decimals whose transfers misbehave on demand.
contract OddToken {
    enum Mode { Honest, ReturnsFalse, ReturnsNothing, ReturnsShort, KeepsFee, Reverts }

    uint8 public decimals;
    Mode public mode;
    mapping(address => uint256) public balanceOf;

    constructor(uint8 decimals_) { decimals = decimals_; }

    function set(Mode mode_) external { mode = mode_; }

    function mint(address to, uint256 value) external { balanceOf[to] += value; }

    function transfer(address to, uint256 value) external { _move(msg.sender, to, value); }

    function transferFrom(address from, address to, uint256 value) external { _move(from, to, value); }

    function _move(address from, address to, uint256 value) private {
        require(mode != Mode.Reverts, "frozen");
        if (mode != Mode.ReturnsFalse) {
            balanceOf[from] -= value;
            balanceOf[to] += mode == Mode.KeepsFee ? value - 1 : value;
        }
        if (mode == Mode.ReturnsNothing) return;
        bool answer = mode != Mode.ReturnsFalse;
        uint256 size = mode == Mode.ReturnsShort ? 31 : 32;
        assembly {
            mstore(0, answer)
            return(0, size)
        }
    }
}

/// Passes a call on, as a contract would that hides a batch's data from the transaction's own calldata.
contract Forwarder {
    function forward(address target, bytes calldata data) external payable {
        (bool success, bytes memory result) = target.call{value: msg.value}(data);
        if (!success) {
            assembly { revert(add(result, 0x20), mload(result)) }
        }
    }

    receive() external payable virtual {}
}

/// A sequencer that can't be paid back.
contract RefusesEther is Forwarder {
    receive() external payable override { revert("no"); }
}

/// A prover that takes its reward, and no ether any more once told.
contract RefusesLater is Forwarder {
    bool private _refuses;

    function refuse() external { _refuses = true; }

    receive() external payable override { require(!_refuses, "no"); }
}

/// The libraries' own functions, to compare with other implementations.
contract Libraries {
    function header(bytes calldata blob) external pure returns (uint64, uint64) { return Frames.header(blob); }

    function digest(bytes calldata blob) external pure returns (bytes32, bytes32, uint32) { return Frames.digest(blob); }

    function merkleize(bytes32[] memory leaves) external pure returns (bytes32) { return Frames.merkleize(leaves); }

    function pay(IERC20 asset, address to, uint256 units) external { Asset.pay(asset, to, units); }
}

/// Paid ether, it tries the armed call once more from within.
contract CallsBack is Forwarder {
    address private _target;
    bytes private _data;
    uint256 public attempts;
    uint256 public successes;

    function arm(address target, bytes calldata data) external { (_target, _data) = (target, data); }

    receive() external payable override {
        if (_data.length == 0) return;
        ++attempts;
        (bool success,) = _target.call(_data);
        if (success) ++successes;
    }
}

/// A token that calls back into a contract when it moves, once armed, and refuses whom it is told to.
contract HookToken {
    uint8 public constant decimals = 18;
    mapping(address => uint256) public balanceOf;
    mapping(address => bool) public refuses;
    address private _target;
    bytes private _data;
    uint256 public attempts;
    uint256 public successes;

    function mint(address to, uint256 value) external { balanceOf[to] += value; }

    function refuse(address who, bool does) external { refuses[who] = does; }

    function arm(address target, bytes calldata data) external { (_target, _data) = (target, data); }

    function transfer(address to, uint256 value) external returns (bool) { return _move(msg.sender, to, value); }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        return _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private returns (bool) {
        require(!refuses[to], "refused");
        balanceOf[from] -= value;
        balanceOf[to] += value;
        bytes memory data = _data;
        if (data.length != 0) {
            delete _data;
            ++attempts;
            (bool success,) = _target.call(data);
            if (success) ++successes;
        }
        return true;
    }
}

interface IForce { function forceTx(bytes calldata body) external returns (uint64); }

/// Fills the inbox faster than any sequencer empties it.
contract Flood {
    function force(IForce inbox, uint256 messages) external {
        for (uint256 i = 0; i < messages; ++i) inbox.forceTx(hex"ff");
    }
}
