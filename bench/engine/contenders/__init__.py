"""The engines that are compared, one a module, each with two workers."""
