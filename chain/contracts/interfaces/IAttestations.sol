// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What the contract `Attestations` offers; written from it by `chain.contracts.build`.
interface IAttestations {
    /// @notice A watchtower vouched for a wrong batch and lost its bond.
    event AttesterSlashed(
        address indexed attester,
        bytes32 indexed batchHash,
        address indexed prover,
        uint256 toProver,
        uint256 burnt
    );

    /// @notice A watchtower added to its bond.
    event BondDeposited(address indexed attester, uint256 amount, uint256 total);

    /// @notice A watchtower wants its bond back.
    event BondLeaving(address indexed attester, uint256 amount, uint64 leavesAt);

    /// @notice A watchtower took its bond back.
    event BondWithdrawn(address indexed attester, uint256 amount);

    /// @notice The sender's bond is on its way out.
    error BondIsLeaving(uint64 leavesAt);

    /// @notice The bond stays until then, or until it was asked for and the delay is over.
    error BondLocked(uint256 until);

    /// @notice The receiver refused its ether.
    error EtherRefused();

    /// @notice Nobody with a bond signed this.
    error NoAttestation();

    /// @notice The sender has no bond.
    error NoBond();

    /// @notice Nobody proved a batch of this hash wrong.
    error NotProvenWrong(bytes32 batchHash);

    /// @notice The sender vouched for a wrong batch once.
    error SlashedBefore();

    /// @notice Where the half of a slashed bond goes that nobody gets.
    function BURNT() external view returns (address);

    /// @notice What the prover's account may spend on receiving its half: without a bound it could make the slash
    /// fail.
    function RECEIVE_GAS() external view returns (uint256);

    /// @notice Whose attestation a signature is; 0 for a signature that nobody made or that has a twin (a high `s`).
    function attesterOf(uint64 batchId, bytes32 batchHash, bytes calldata signature) external view returns (address);

    /// @notice What each watchtower put up.
    function bonds(address attester) external view returns (uint128 amount, uint64 leavesAt);

    /// @notice Adds to the sender's bond.
    function deposit() external payable;

    /// @notice The EIP-712 domain of an attestation: the rollup's.
    function domainSeparator() external view returns (bytes32);

    /// @notice The rollup whose batches are vouched for.
    function rollup() external view returns (address);

    /// @notice Takes the bond of a watchtower that vouched for a batch proven wrong; anyone may call.
    function slash(uint64 batchId, bytes32 batchHash, bytes calldata signature) external;

    /// @notice Whether it vouched for a wrong batch once: it never can again, so that old evidence counts once.
    function slashed(address attester) external view returns (bool slashed);

    /// @notice Asks for the sender's whole bond back; it stays slashable for `withdrawDelay`, and vouches for nothing
    /// new.
    function startWithdrawal() external;

    /// @notice The version of what the contract does (https://semver.org): the first number changes with whatever its
    /// callers or its users' signatures must know, the second with what is new, the third with nothing that they see.
    function version() external view returns (string memory);

    /// @notice Returns the sender's whole bond, once its delay is over.
    function withdraw() external;

    /// @notice How long a bond stays slashable once its owner asked for it, in seconds: whatever was vouched for
    /// before has been final for a whole window by then.
    function withdrawDelay() external view returns (uint64);
}
