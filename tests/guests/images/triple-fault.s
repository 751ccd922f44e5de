# Without a table of interrupts, an exception resets the machine.
    .include "common.inc"
main:
    SAY "PASS: before\n"
    lidt none
    int3
none:
    .word 0
    .long 0
