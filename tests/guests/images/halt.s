# It never ends, and its CPU sleeps.
    .include "common.inc"
main:
    cli
1:  hlt
    jmp 1b
