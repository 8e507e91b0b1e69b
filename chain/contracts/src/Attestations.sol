// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ISemver} from "./ISemver.sol";
import {Signatures} from "./Signatures.sol";

/// @title What the attestations ask of the rollup
interface IDisputed {
    /// @notice Who proved a batch of this hash wrong; 0 if nobody did.
    function provenWrong(bytes32 batchHash) external view returns (address prover);
}

/// @title Watchtowers that vouch for batches with their own ether
/// @notice An attestation is a signature over a batch's hash, given anywhere: nothing about it is sent here unless the batch
/// is proven wrong. Then it costs its maker the whole bond: half goes to who proved the batch wrong, whoever reports it, so
/// that copying a report gains nothing, and half is burnt.
/// @dev A batch's hash fixes everything that its execution depends on (`Rollup.batchHash`). So what is right stays right
/// whatever L1's history does, and an honest watchtower can't be slashed.
contract Attestations is ISemver {
    using Signatures for bytes;

    /// @inheritdoc ISemver
    string public constant version = "1.0.0";

    /// @notice What a watchtower put up.
    /// @param amount In wei.
    /// @param leavesAt From when on it may be taken back, in seconds; 0 while nobody asked.
    struct Bond {
        uint128 amount;
        uint64 leavesAt;
    }

    /// @notice Where the half of a slashed bond goes that nobody gets.
    address public constant BURNT = 0x000000000000000000000000000000000000dEaD;
    /// @notice What the prover's account may spend on receiving its half: without a bound it could make the slash fail.
    uint256 public constant RECEIVE_GAS = 50_000;

    bytes32 private constant _ATTESTATION_TYPE = keccak256("Attestation(uint64 batch,bytes32 batchHash)");

    /// @notice The rollup whose batches are vouched for.
    IDisputed public immutable rollup;
    /// @notice The EIP-712 domain of an attestation: the rollup's.
    bytes32 public immutable domainSeparator;
    /// @notice How long a bond stays slashable once its owner asked for it, in seconds: whatever was vouched for before has
    /// been final for a whole window by then.
    uint64 public immutable withdrawDelay;

    /// @notice What each watchtower put up.
    mapping(address attester => Bond bond) public bonds;
    /// @notice Whether it vouched for a wrong batch once: it never can again, so that old evidence counts once.
    mapping(address attester => bool slashed) public slashed;

    /// @notice A watchtower added to its bond.
    event BondDeposited(address indexed attester, uint256 amount, uint256 total);
    /// @notice A watchtower wants its bond back.
    event BondLeaving(address indexed attester, uint256 amount, uint64 leavesAt);
    /// @notice A watchtower took its bond back.
    event BondWithdrawn(address indexed attester, uint256 amount);
    /// @notice A watchtower vouched for a wrong batch and lost its bond.
    event AttesterSlashed(
        address indexed attester, bytes32 indexed batchHash, address indexed prover, uint256 toProver, uint256 burnt
    );

    /// @notice The sender vouched for a wrong batch once.
    error SlashedBefore();
    /// @notice The sender's bond is on its way out.
    error BondIsLeaving(uint64 leavesAt);
    /// @notice The sender has no bond.
    error NoBond();
    /// @notice The bond stays until then, or until it was asked for and the delay is over.
    error BondLocked(uint256 until);
    /// @notice Nobody proved a batch of this hash wrong.
    error NotProvenWrong(bytes32 batchHash);
    /// @notice Nobody with a bond signed this.
    error NoAttestation();
    /// @notice The receiver refused its ether.
    error EtherRefused();

    /// @param domainSeparator_ The rollup's EIP-712 domain.
    /// @param challengeWindow How long a batch can be challenged, in seconds.
    constructor(bytes32 domainSeparator_, uint64 challengeWindow) {
        rollup = IDisputed(msg.sender);
        domainSeparator = domainSeparator_;
        withdrawDelay = 2 * challengeWindow;
    }

    /// @notice Adds to the sender's bond.
    function deposit() external payable {
        if (slashed[msg.sender]) revert SlashedBefore();
        Bond storage bond = bonds[msg.sender];
        if (bond.leavesAt != 0) revert BondIsLeaving(bond.leavesAt);
        bond.amount += uint128(msg.value);
        emit BondDeposited(msg.sender, msg.value, bond.amount);
    }

    /// @notice Asks for the sender's whole bond back; it stays slashable for `withdrawDelay`, and vouches for nothing new.
    function startWithdrawal() external {
        Bond storage bond = bonds[msg.sender];
        if (bond.amount == 0) revert NoBond();
        if (bond.leavesAt != 0) revert BondIsLeaving(bond.leavesAt);
        bond.leavesAt = uint64(block.timestamp) + withdrawDelay;
        emit BondLeaving(msg.sender, bond.amount, bond.leavesAt);
    }

    /// @notice Returns the sender's whole bond, once its delay is over.
    function withdraw() external {
        Bond memory bond = bonds[msg.sender];
        if (bond.amount == 0) revert NoBond();
        if (bond.leavesAt == 0 || block.timestamp < bond.leavesAt) revert BondLocked(bond.leavesAt);
        delete bonds[msg.sender];
        emit BondWithdrawn(msg.sender, bond.amount);
        (bool success,) = msg.sender.call{value: bond.amount}("");
        if (!success) revert EtherRefused();
    }

    /// @notice Takes the bond of a watchtower that vouched for a batch proven wrong; anyone may call.
    /// @param batchId The batch's number.
    /// @param batchHash Its hash.
    /// @param signature The attestation: `r32 ‖ yParityAndS32`.
    function slash(uint64 batchId, bytes32 batchHash, bytes calldata signature) external {
        address prover = rollup.provenWrong(batchHash);
        if (prover == address(0)) revert NotProvenWrong(batchHash);
        address attester = attesterOf(batchId, batchHash, signature);
        uint256 lost = bonds[attester].amount;
        if (attester == address(0) || lost == 0) revert NoAttestation();
        delete bonds[attester];
        slashed[attester] = true;
        uint256 reward = lost / 2;
        // A prover that refuses its half, so as to save the attester, burns it.
        (bool success,) = prover.call{value: reward, gas: RECEIVE_GAS}("");
        if (!success) reward = 0;
        emit AttesterSlashed(attester, batchHash, prover, reward, lost - reward);
        (success,) = BURNT.call{value: lost - reward}("");
        if (!success) revert EtherRefused();
    }

    /// @notice Whose attestation a signature is; 0 for a signature that nobody made or that has a twin (a high `s`).
    /// @param batchId The batch's number.
    /// @param batchHash Its hash.
    /// @param signature `r32 ‖ yParityAndS32`.
    function attesterOf(uint64 batchId, bytes32 batchHash, bytes calldata signature) public view returns (address) {
        return signature.signer(domainSeparator, keccak256(abi.encode(_ATTESTATION_TYPE, batchId, batchHash)));
    }
}
