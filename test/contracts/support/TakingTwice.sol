// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

/// @title An account that, whenever it is paid, tries to be paid again
contract TakingTwice {
    address private payer;
    bytes private again;

    /// @dev The error with which the last try was refused; empty if none was.
    bytes public refusal;

    /// @dev What to call while being paid.
    function remember(address target, bytes calldata call) external {
        (payer, again) = (target, call);
    }

    receive() external payable {
        (bool success, bytes memory answer) = payer.call(again);
        if (!success) refusal = answer;
    }
}
