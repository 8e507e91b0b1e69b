// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The part of ERC-20 that the rollup uses
interface IERC20 {
    /// @notice Decimal places of one unit.
    function decimals() external view returns (uint8);
    /// @notice Units an account holds.
    function balanceOf(address account) external view returns (uint256);
    /// @notice Moves the caller's units.
    function transfer(address to, uint256 value) external returns (bool);
    /// @notice Moves an owner's units within the caller's allowance.
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// @title What assets with signed approvals have (EIP-2612)
interface IERC20Permit {
    /// @notice Lets a spender take units, by the owner's signature.
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
}

/// @notice The asset refused a transfer, or moved another amount than it was told to.
error AssetTransferFailed();

/// @title Token transfers that fail loudly
/// @notice Takes tokens that return nothing as well as those that return a boolean, and nothing that returns false.
library Asset {
    /// @notice The fewest decimals of an asset; its unit is a thousand nano then.
    uint8 internal constant MIN_DECIMALS = 6;
    /// @notice The most decimals of an asset, so that any amount's units fit.
    uint8 internal constant MAX_DECIMALS = 27;
    /// @notice Decimals of a nano.
    uint8 internal constant NANO_DECIMALS = 9;

    /// @notice How an asset's units and nano convert: units are `nano * unitsPerNano / nanoPerUnit`, and one of both is 1.
    /// @param decimals The asset's, from `MIN_DECIMALS` to `MAX_DECIMALS`.
    function ratio(uint8 decimals) internal pure returns (uint256 unitsPerNano, uint256 nanoPerUnit) {
        if (decimals < NANO_DECIMALS) return (1, 10 ** (NANO_DECIMALS - decimals));
        return (10 ** (decimals - NANO_DECIMALS), 1);
    }

    /// @notice Pays units held by the calling contract.
    function pay(IERC20 asset, address to, uint256 units) internal {
        if (!tryPay(asset, to, units)) revert AssetTransferFailed();
    }

    /// @notice Pays units held by the calling contract, and says whether the asset took the order.
    /// @dev Less than one unit is nothing, and some assets refuse to move nothing.
    function tryPay(IERC20 asset, address to, uint256 units) internal returns (bool) {
        if (units == 0) return true;
        return _call(asset, abi.encodeCall(IERC20.transfer, (to, units)));
    }

    /// @notice Pulls units from an owner who approved the calling contract.
    /// @dev A token that keeps a fee on transfer would leave the rollup short, so the received amount is measured.
    function pull(IERC20 asset, address from, address to, uint256 units) internal {
        uint256 before = asset.balanceOf(to);
        bool isDone = _call(asset, abi.encodeCall(IERC20.transferFrom, (from, to, units)));
        if (!isDone || asset.balanceOf(to) - before != units) revert AssetTransferFailed();
    }

    function _call(IERC20 asset, bytes memory data) private returns (bool) {
        (bool success, bytes memory result) = address(asset).call(data);
        if (!success) return false;
        if (result.length == 0) return address(asset).code.length != 0;
        return result.length >= 32 && abi.decode(result, (uint256)) == 1;
    }
}
