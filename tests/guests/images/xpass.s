# What is known to fail holds.
    .include "common.inc"
main:
    SAY "XPASS: erratum 1\n"
    END 1
