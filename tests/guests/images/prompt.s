# It says that it is ready, and goes on.
    .include "common.inc"
main:
    SAY "ready\n"
1:  hlt
    jmp 1b
