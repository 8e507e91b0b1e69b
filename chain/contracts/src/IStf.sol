// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The state transition, as the rollup asks for it
/// @notice A total function over a batch's data: whatever a sequencer posted comes back as a code and a root. Only a wrong
/// *witness*, which the caller chose, reverts.
interface IStf {
    /// @notice What a frame's execution depends on besides the state.
    /// @param domainSeparator The EIP-712 domain that transactions are signed in.
    /// @param closeDelay How long a lone close of a channel waits, in L2 seconds.
    /// @param unstakeDelay How long a stake on its way out stays slashable, in L2 seconds.
    /// @param l2Time The batch's L2 time.
    /// @param inboxTo How far the inbox is executed once the batch is.
    /// @param isLast Whether the frame is its batch's last, after which the cursor must have reached `inboxTo`.
    struct Context {
        bytes32 domainSeparator;
        uint64 closeDelay;
        uint64 unstakeDelay;
        uint64 l2Time;
        uint64 inboxTo;
        bool isLast;
    }

    /// @notice Executes one frame on the state that a witness opens.
    /// @param context What the execution depends on besides the state.
    /// @param prevRoot The state root before the frame.
    /// @param frame The frame's body.
    /// @param messages For an inbox frame of 10 bytes with 1 <= count <= 8 and from + count <= inboxTo: the packed contents of
    /// exactly the messages that it names, in order. Each is `kind1 timestamp8`, then for a deposit `owner20 hint4 amount8`,
    /// for a forced transaction `length1 body`. Not looked at for any other frame.
    /// @param witness The leaves that the execution touches and the siblings that lead from them to `prevRoot`.
    /// @return code 0, or the first rule that the frame breaks.
    /// @return root The state root after the frame; meaningless where `code` isn't 0.
    function execute(
        Context calldata context,
        bytes32 prevRoot,
        bytes calldata frame,
        bytes calldata messages,
        bytes calldata witness
    ) external view returns (uint8 code, bytes32 root);
}
