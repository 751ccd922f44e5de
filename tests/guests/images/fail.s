# One of its checks fails.
    .include "common.inc"
main:
    SAY "PASS: adds\nFAIL: arithmetic: subtracts\nPASS: multiplies\nSUMMARY: 3 tests, 1 unexpected failures\n"
    END 1
