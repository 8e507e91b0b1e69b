// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Asset, IERC20} from "./Asset.sol";
import {Exits, LEVELS} from "./Exits.sol";
import {Signatures} from "./Signatures.sol";

/// @title Selling a withdrawal's claim before it is final: paid now, less a fee, by whoever takes the claim over
/// @notice A withdrawal's recipient signs once on what terms anybody may take its claim over. The fee rises with time until
/// somebody finds it worth it, so those who offer liquidity compete. Payment and claim change hands in one transaction. The
/// claim belongs to the withdrawal, not to its number: where a batch is taken back and the withdrawal comes again in another
/// one, it is sold still.
abstract contract FastWithdrawals is Exits {
    using Asset for IERC20;
    using Signatures for bytes;

    /// @notice On what terms a recipient sells.
    /// @param maxFee What the buyer may keep at most, in nano.
    /// @param start When the fee begins to rise from 0, in seconds.
    /// @param deadline When it has reached `maxFee` and the offer ends, in seconds.
    struct Terms {
        uint64 maxFee;
        uint64 start;
        uint64 deadline;
    }

    bytes32 private constant _ORDER_TYPE = keccak256(
        "WithdrawalOrder(uint32 account,uint64 nonce,uint64 amount,address recipient,uint64 maxFee,uint64 start,uint64 deadline)"
    );

    /// @notice A withdrawal's claim was sold.
    /// @param buyer Whom the claim pays.
    /// @param key The withdrawal's leaf, hashed.
    /// @param recipient Who was paid now.
    /// @param amountNano What the claim is worth.
    /// @param feeNano What the buyer keeps of it.
    event WithdrawalSold(
        address indexed buyer, bytes32 indexed key, address indexed recipient, uint64 amountNano, uint64 feeNano
    );

    /// @notice Somebody took this claim over before.
    error AlreadySold(address claimant);
    /// @notice The fee would exceed the amount, or would never rise.
    error WrongTerms();
    /// @notice The offer ended.
    error OrderOver(uint64 deadline);
    /// @notice The recipient didn't sign these terms for this withdrawal.
    error WrongOrder();

    /// @notice Pays a withdrawal out to its recipient, less the fee as it stands now, and takes its claim over.
    /// @dev The proof is against a batch that stands: where that is taken back before this is mined, nobody pays. What is
    /// taken back later may come again or not; that is the buyer's risk, and what the fee is for. After a freeze nothing
    /// comes again, so nothing is sold; what was sold pays its buyer.
    /// @param batchId A batch that stands, final or not, whose state holds the withdrawal.
    /// @param index The withdrawal's state index.
    /// @param leaf What the batch's state holds for it.
    /// @param siblings The Merkle proof's siblings, from the leaf up.
    /// @param terms What the recipient signed.
    /// @param signature The recipient's signature, `r32 ‖ yParityAndS32`.
    function buyWithdrawal(
        uint256 batchId,
        uint32 index,
        WithdrawalLeaf calldata leaf,
        bytes32[LEVELS] calldata siblings,
        Terms calldata terms,
        bytes calldata signature
    ) external {
        if (frozenAt != 0) revert AlreadyFrozen();
        if (batchId >= count) revert NoSuchBatch(count);
        bytes32 key = _checkWithdrawal(batchId, index, leaf, siblings);
        if (claimed[index]) revert AlreadyClaimed(index);
        if (claimants[key] != address(0)) revert AlreadySold(claimants[key]);
        bytes32 order = keccak256(
            abi.encode(
                _ORDER_TYPE,
                leaf.account,
                leaf.nonce,
                leaf.amount,
                leaf.recipient,
                terms.maxFee,
                terms.start,
                terms.deadline
            )
        );
        address signer = signature.signer(domainSeparator, order);
        if (signer == address(0) || signer != leaf.recipient) revert WrongOrder();
        uint64 feeNano = feeOf(leaf.amount, terms);
        claimants[key] = msg.sender;
        emit WithdrawalSold(msg.sender, key, leaf.recipient, leaf.amount, feeNano);
        // The fee is rounded down to the asset's units, so that a sale never pays less than the claim less the fee.
        uint256 units = _units(leaf.amount) - _units(feeNano);
        if (units != 0) asset.pull(msg.sender, leaf.recipient, units);
    }

    /// @notice What a buyer may keep of a withdrawal now.
    /// @param amountNano The withdrawal's amount, in nano.
    /// @param terms What its recipient signed.
    function feeOf(uint64 amountNano, Terms calldata terms) public view returns (uint64) {
        if (terms.maxFee > amountNano || terms.start >= terms.deadline) revert WrongTerms();
        if (block.timestamp > terms.deadline) revert OrderOver(terms.deadline);
        if (block.timestamp <= terms.start) return 0;
        return uint64(uint256(terms.maxFee) * (block.timestamp - terms.start) / (terms.deadline - terms.start));
    }
}
