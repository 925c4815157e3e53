// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

/// @notice What is wrong, a line each.
struct Findings {
    string[] lines;
}

/// @title Collects findings
library FindingsLib {
    function add(Findings memory self, string memory line) internal pure {
        string[] memory lines = new string[](self.lines.length + 1);
        for (uint256 i = 0; i < self.lines.length; ++i) {
            lines[i] = self.lines[i];
        }
        lines[self.lines.length] = line;
        self.lines = lines;
    }

    /// @notice A finding where `actual` is not `expected`.
    function compare(
        Findings memory self,
        string memory subject,
        string memory actual,
        string memory expected
    ) internal pure {
        if (keccak256(bytes(actual)) == keccak256(bytes(expected))) return;
        add(self, string.concat(subject, ": is ", actual, ", should be ", expected));
    }

    /// @notice Reverts with all findings, if there are any.
    function refuse(Findings memory self, string memory what) internal pure {
        if (self.lines.length == 0) return;
        for (uint256 i = 0; i < self.lines.length; ++i) {
            what = string.concat(what, "\n", self.lines[i]);
        }
        revert(what);
    }
}
