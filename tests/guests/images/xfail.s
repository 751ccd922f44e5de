# What fails is known to fail.
    .include "common.inc"
main:
    SAY "XFAIL: erratum 1\nKFAIL: erratum 2\nPASS: adds\n"
    END 0
