# It never ends, and its CPU spins.
    .include "common.inc"
main:
    SAY "INFO: begins\nPASS: adds\n"
1:  jmp 1b
