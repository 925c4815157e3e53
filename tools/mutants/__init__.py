"""Mutation testing of the contracts: each small change to their code has to make a test fail.

``make mutants`` makes the mutants from the compiler's syntax tree, judges each by the Solidity tests, and
fails where one lives whose reason to live is not written in ``test/contracts/mutants.toml``.

A mutant is

``killed``      a test fails, or runs longer than any passing one could
``same code``   it compiles to the very bytecode of the original, so there is nothing to test
``invalid``     it does not compile
``survived``    all tests pass
"""
