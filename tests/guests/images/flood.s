# It writes without end.
    .include "common.inc"
main:
1:  SAY "PASS: again\n"
    jmp 1b
